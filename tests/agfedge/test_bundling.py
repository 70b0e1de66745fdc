"""What a bundle holds beside its graphs: golden answers, a manifest that says what was decided, a page for people."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from agfedge.bundling import GOLDEN_MARGIN, Experts, write_expert_bundle
from agfedge.calibrate import Calibration, EarlyTrial, Guarantee
from agfedge.data import Arrays, Dataset
from agfedge.evaluate import evaluate
from agfedge_export import analyse, graph_costs, make_plan
from agfedge_export.heads import Preprocessing
from agfedge_runtime import Branch, Bundle, Cascade
from agfedge_runtime.golden import load_golden
from nets import SIDE, exported, learned, samples, stripes
from nets import Residual as Net
from workshop import Workshop

AS_IS = Preprocessing(False, 1.0, (0.0,), (1.0,))
PRIOR = EarlyTrial("input_l1", 0.75, 0.5, 0.4)


@pytest.fixture(scope="module")
def core():
    model = exported(learned(Net), stripes(4)[0]).model
    return model, graph_costs(model), make_plan(analyse(model), {})


def written(core, folder: Path, threshold: float = 0.9, prior: EarlyTrial | None = None, x: np.ndarray | None = None):
    """A bundle whose two experts are the same network."""
    model, costs, plan = core
    x = stripes(150, seed=3)[0] if x is None else x
    part = Arrays(x, np.arange(len(x)) % 3)
    calibration = Calibration(2.0, Guarantee(threshold, 0.05, 0.1, 150, 0), prior, (), 0.5, "verdict", "method")
    return write_expert_bundle(
        folder,
        Experts(model, model, costs, costs, AS_IS),
        plan,
        calibration,
        Dataset(("a", "b", "c"), part, part, part, None),
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
    assert (np.abs(golden.confidence[ran] - 0.9) >= GOLDEN_MARGIN).all()
    assert (np.abs(golden.prior - 0.75) >= GOLDEN_MARGIN * 0.75).all()
    top = np.sort(golden.probabilities, axis=1)
    assert (top[:, -1] - top[:, -2] >= GOLDEN_MARGIN).all()
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
    found = evaluate(bundle, Arrays(x, y), batch_size=16)
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
    assert set(bundle.manifest.files) == {"heavy.onnx", "light.onnx", "plan.json", "golden.npz", "report.html"}
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
