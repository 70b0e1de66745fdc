"""What a bundle holds beside its graphs: golden answers, a manifest that says what was decided, a page for people."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from agfedge.bundles.assembling import check_classes, write_experts
from agfedge.bundles.bundling import GOLDEN_MARGINS
from agfedge.bundles.evaluation import evaluate
from agfedge.bundles.experts import ExpertPair, Graphs
from agfedge.bundles.precisions import InPrecision
from agfedge.data import Arrays, Dataset
from agfedge.router import Calibration, EarlyTrial, Measure
from agfedge.router.choice import Choice
from agfedge_export import analyse, graph_costs, make_plan, prune
from agfedge_export.trunk.cuts import common_trunk, trunk_cuts
from agfedge_export.trunk.split import groups_of_trunk
from agfedge_runtime import Branch, Bundle, Cascade
from agfedge_runtime.bundle.golden import load_golden
from agfedge_runtime.bundle.manifest import (
    ConfidenceRule,
    Guarantee,
    Precision,
    Preprocessing,
    PriorRule,
    Router,
)
from agfedge_runtime.cascade.verify import verify_golden
from agfedge_runtime.errors import InputError
from nets import SIDE, exported, learned, samples, stripes
from nets import Residual as Net
from workshop import Workshop

AS_IS = Preprocessing(False, 1.0, (0.0,), (1.0,))
PRIOR = EarlyTrial("input_l1", 0.75, 0.5, 0.4)


@pytest.fixture(scope="module")
def core():
    model = exported(learned(Net), stripes(4)[0]).model
    return model, graph_costs(model), make_plan(analyse(model), {})


def routed(threshold: float, prior: EarlyTrial | None) -> Calibration:
    rule = None if prior is None else PriorRule(prior.kind, "prior.onnx", "prior", prior.threshold)
    confidence = ConfidenceRule("max_probability", "confidence", threshold, 2.0)
    router = Router(rule, confidence, Guarantee("method", 0.05, 0.1, 150))
    return Calibration(router, Choice(Measure(temperature=2.0), np.zeros(1), prior), 0.5, "verdict")


def written(
    core,
    folder: Path,
    threshold: float = 0.9,
    prior: EarlyTrial | None = None,
    x: np.ndarray | None = None,
    light=None,
    trunk=None,
    classes=("a", "b", "c"),
):
    """A bundle whose two experts are the same network, unless another light one is given."""
    model, costs, plan = core
    light = model if light is None else light
    x = stripes(150, seed=3)[0] if x is None else x
    part = Arrays(x, np.arange(len(x)) % 3)
    calibration = routed(threshold, prior)
    experts = ExpertPair(light, model, graph_costs(light), costs, AS_IS, trunk)
    graphs = experts.graphs(calibration.choice, x.shape[1:])
    test = graphs.answers(part)
    passes = experts.macs
    charge = 0.0 if prior is None else experts.prior_costs(experts.answers(part), x.shape[1:])[prior.kind]
    return write_experts(
        folder,
        experts,
        plan,
        calibration,
        [InPrecision("fp32", Precision(experts.described, calibration.router, "golden.npz"), graphs, test)],
        replace(passes, prior=charge),
        Dataset(classes, part, part, part, None),
        {"model": "zoo.stripes:net", "seed": 3},
    )


def test_the_manifest_says_what_was_decided(core, tmp_path: Path) -> None:
    manifest = written(core, tmp_path / "b", prior=PRIOR).manifest
    assert manifest.name == "stripes"
    assert manifest.classes == ("a", "b", "c")
    assert (manifest.input.name, manifest.input.shape, manifest.input.dtype) == (
        "image",
        (None, 1, SIDE, SIDE),
        "float32",
    )
    assert (manifest.router.prior.kind, manifest.router.prior.threshold) == ("input_l1", 0.75)
    assert (manifest.router.confidence.threshold, manifest.router.confidence.temperature) == (0.9, 2.0)
    assert manifest.router.guarantee.method == "method"
    assert manifest.costs.light == 1.0
    assert manifest.costs.prior == SIDE * SIDE / graph_costs(core[0]).macs
    assert manifest.provenance == {"model": "zoo.stripes:net", "seed": 3}


def test_golden_answers_take_every_way_and_keep_away_from_the_thresholds(core, tmp_path: Path) -> None:
    bundle = written(core, tmp_path / "b", prior=PRIOR)
    golden = load_golden(bundle)
    assert len(golden.labels) == 32
    assert set(golden.branches.tolist()) == {Branch.LIGHT, Branch.EARLY, Branch.LATE}
    ran = ~np.isnan(golden.confidence)
    assert (np.abs(golden.confidence[ran] - 0.9) >= GOLDEN_MARGINS["fp32"]).all()
    assert (np.abs(golden.prior - 0.75) >= GOLDEN_MARGINS["fp32"] * 0.75).all()
    top = np.sort(golden.probabilities, axis=1)
    assert (top[:, -1] - top[:, -2] >= GOLDEN_MARGINS["fp32"]).all()
    assert len(set(golden.labels.tolist())) == 3


def test_a_bundle_whose_every_input_lies_near_a_threshold_has_golden_answers_all_the_same(core, tmp_path: Path) -> None:
    same = np.repeat(stripes(1, seed=5)[0], 20, axis=0)
    with Cascade.open(written(core, tmp_path / "first", x=same)) as cascade:
        confidence = float(cascade(same[:1]).confidence[0])
    golden = load_golden(written(core, tmp_path / "second", threshold=confidence, x=same))
    assert len(golden.labels) == 20


def test_the_same_parts_make_the_same_bytes(core, tmp_path: Path) -> None:
    assert written(core, tmp_path / "a").digest == written(core, tmp_path / "b").digest


def test_experts_without_a_prior_have_none_in_the_graph(core, tmp_path: Path) -> None:
    with Cascade.open(written(core, tmp_path / "b")) as cascade:
        assert not cascade.has_prior
        assert np.isnan(cascade(samples(2)[0]).prior).all()


def test_evaluation_counts_the_three_answers_and_the_ways(core, tmp_path: Path) -> None:
    bundle = written(core, tmp_path / "b", prior=PRIOR)
    x, y = stripes(70, seed=9)
    rows = Graphs.of_bundle(bundle, bundle.manifest.precisions["fp32"]).answers(Arrays(x, y))
    found = evaluate(rows, routed(0.9, PRIOR))
    with Cascade.open(bundle) as cascade:
        one_by_one = [cascade(x[row : row + 1]) for row in range(70)]
        assert found.heavy.count == int((cascade.heavy(x).argmax(axis=1) == y).sum())
        assert found.light.count == int((cascade.light(x).argmax(axis=1) == y).sum())
    branches = np.concatenate([each.branches for each in one_by_one])
    assert found.cascade.count == int((np.concatenate([each.labels for each in one_by_one]) == y).sum())
    assert (found.early.count, found.late.count) == ((branches == 1).sum(), (branches == 2).sum())
    assert found.cascade.samples == 70


def test_markup_in_a_name_stays_text(core, tmp_path: Path) -> None:
    model, costs, plan = core
    renamed = replace(plan, groups=tuple(replace(each, name="<script>alert(1)</script>") for each in plan.groups))
    bundle = written((model, costs, renamed), tmp_path / "b")
    page = bundle.file("report.html").read_text()
    assert "<script>alert" not in page
    assert "&lt;script&gt;" in page


def test_an_export_leaves_what_its_summary_says(workshop: Workshop) -> None:
    bundle = Bundle.open(workshop.bundle)
    assert bundle.digest == workshop.printed["digest"]
    assert {*bundle.manifest.files} - {"prior.onnx"} == {
        "heavy.onnx", "light.onnx", "plan.json", "golden.npz", "report.html",
    }  # fmt: skip
    assert bundle.manifest.classes == ("0", "1", "2")
    assert workshop.printed["recovery"]["kind"] == "slimmed"


def test_a_way_that_is_seldom_taken_is_among_the_golden_answers(core, tmp_path: Path) -> None:
    x = stripes(200, seed=3)[0]
    with Cascade.open(written(core, tmp_path / "first", x=x)) as cascade:
        confidence = np.sort(cascade(x).confidence)
    seldom = float(confidence[3] + confidence[4]) / 2  # four of 200 lie below
    branches = load_golden(written(core, tmp_path / "second", threshold=seldom, x=x)).branches.tolist()
    assert branches.count(Branch.LATE) >= 3
    assert branches.count(Branch.LIGHT) >= 28


@pytest.fixture(scope="module")
def parted(core):
    """A light expert that keeps what lies before the residual block whole, and where the two part."""
    model = core[0]
    groups = analyse(model)
    cut = [each for each in trunk_cuts(model) if each.stage in ("stem", "norm")][-1]
    whole = groups_of_trunk(groups, model, cut)
    keep = {each.name: np.arange(each.size if each.name in whole else each.size // 2) for each in groups.groups}
    light = prune(model, make_plan(groups, keep)).model
    return light, common_trunk(model, light)[-1]


@pytest.mark.parametrize("prior", [None, PRIOR])
def test_experts_on_a_trunk_decide_as_whole_ones(core, parted, tmp_path: Path, prior: EarlyTrial | None) -> None:
    light, cut = parted
    whole = written(core, tmp_path / "whole", prior=prior, light=light)
    split = written(core, tmp_path / "split", prior=prior, light=light, trunk=cut)
    x = stripes(60, seed=11)[0]
    with Cascade.open(whole) as expected, Cascade.open(split) as found:
        one, other = expected(x), found(x)
        np.testing.assert_allclose(found.light(x), expected.light(x), atol=1e-6)
        np.testing.assert_allclose(found.heavy(x), expected.heavy(x), atol=1e-6)
        assert found.has_prior == (prior is not None)
    np.testing.assert_array_equal(other.branches, one.branches)
    np.testing.assert_allclose(other.probabilities, one.probabilities, atol=1e-6)
    np.testing.assert_allclose(other.prior, one.prior, atol=1e-6)
    with Cascade.open(split) as cascade:
        assert verify_golden(cascade, load_golden(split)).passed


def test_a_bundle_with_a_trunk_says_what_each_part_costs(core, parted, tmp_path: Path) -> None:
    light, cut = parted
    manifest = written(core, tmp_path / "b", light=light, trunk=cut).manifest
    experts, costs = manifest.experts, manifest.costs
    assert set(manifest.files) == {
        "golden.npz", "heavy.onnx", "light.onnx", "plan.json", "report.html", "trunk.onnx",
    }  # fmt: skip
    assert experts.trunk.outputs == cut.heavy.tensors
    assert experts.trunk.macs + experts.heavy.macs == graph_costs(core[0]).macs
    assert experts.trunk.macs + experts.light.macs == graph_costs(light).macs
    assert experts.trunk.parameters + experts.heavy.parameters == graph_costs(core[0]).parameters
    assert costs.trunk + costs.heavy == pytest.approx(1)
    assert costs.trunk + costs.light == pytest.approx(graph_costs(light).macs / graph_costs(core[0]).macs)


def test_an_expert_with_other_classes_than_the_data_is_refused(core) -> None:
    data = Dataset(("a", "b"), *[Arrays(stripes(9)[0], np.zeros(9, np.int64))] * 3, None)
    with pytest.raises(InputError, match="the light expert answers 3 classes, the data has 2"):
        check_classes("light", core[0], data)
