"""`agfedge export --share-trunk`: both experts keep the heavy expert's first stages, which run once."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import expit

from agfedge.allocate import AllocationRequest
from agfedge.bundles.assembling import write_experts
from agfedge.bundles.experts import ExpertPair
from agfedge.bundles.precisions import InPrecision
from agfedge.cli import main
from agfedge.data import load_dataset
from agfedge.light.light import LightExpert, make_light, score_subject
from agfedge.recover import Recovery
from agfedge.router import Answers, Calibration, EarlyTrial, Measure
from agfedge.router.choice import Choice
from agfedge.router.priors import prior_charge
from agfedge.subject.models import load_module
from agfedge.subject.origin import Origin
from agfedge.subject.preprocess import model_input, preprocessing_for
from agfedge.subject.subject import Subject, load_subject
from agfedge_export import graph_costs
from agfedge_export.heads.priors import Probe
from agfedge_export.trunk.cuts import common_trunk, find_cut, trunk_cuts
from agfedge_runtime import Branch, Bundle, Cascade
from agfedge_runtime.bundle.manifest import (
    ConfidenceRule,
    Guarantee,
    Precision,
    PriorRule,
    Router,
)

pytestmark = pytest.mark.slow

NETWORK = "agfedge.demo.network:digits_net"


@dataclass(frozen=True)
class Parted:
    subject: Subject
    light: LightExpert
    experts: ExpertPair
    rows: Answers


@pytest.fixture(scope="module")
def folder(beside_digits: Path) -> Path:
    return beside_digits


def export(folder: Path, stage: str) -> int:
    return main(
        [
            *("export", "--model", NETWORK, "--weights", str(folder / "heavy.safetensors")),
            *("--data", str(folder / "digits"), "--out", str(folder / "bundle"), "--share-trunk", stage),
            *("--keep", "0.25", "--epochs", "2", "--learning-rate", "0.003", "--epsilon", "0.05", "--score", "l1"),
        ]
    )


@pytest.fixture(scope="module")
def bundle(folder: Path) -> Bundle:
    assert export(folder, "stages.1") == 0
    return Bundle.open(folder / "bundle")


def test_the_bundle_holds_three_graphs_whose_costs_add_up(bundle: Bundle) -> None:
    costs, experts = bundle.manifest.costs, bundle.manifest.experts
    assert experts.trunk is not None
    assert costs.trunk + costs.heavy == pytest.approx(1)
    assert experts.trunk.macs + experts.heavy.macs == pytest.approx(experts.heavy.macs / costs.heavy)
    assert 0 < costs.light < costs.heavy


def test_the_heavy_expert_answers_as_the_module_that_was_given(bundle: Bundle, folder: Path) -> None:
    x = load_dataset(str(folder / "digits"), 0).test.x[:64]
    module = load_module(NETWORK, folder / "heavy.safetensors")
    with torch.no_grad():
        expected = module(torch.from_numpy(model_input(x, preprocessing_for(x)))).softmax(1).numpy()
    with Cascade.open(bundle) as cascade:
        np.testing.assert_allclose(cascade.heavy(x), expected, atol=1e-5)


def test_decisions_do_not_depend_on_the_batch(bundle: Bundle, folder: Path) -> None:
    x = load_dataset(str(folder / "digits"), 0).test.x[:64]
    with Cascade.open(bundle) as cascade:
        together = cascade(x)
        alone = [cascade(row[None]) for row in x]
    assert together.labels.tolist() == [int(each.labels[0]) for each in alone]
    assert together.branches.tolist() == [int(each.branches[0]) for each in alone]


def test_a_profile_charges_the_trunk_once(bundle: Bundle, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    data = str(folder / "digits" / "test")
    assert main(["profile", str(bundle.path), "--data", data, "--json", "--time", "0s"]) == 0
    costs = json.loads(capsys.readouterr().out)["costs"]
    assert 0 < costs["mixture"] <= costs["sequential"] < 2


def test_a_monitor_watches_the_cascade(bundle: Bundle, folder: Path) -> None:
    x = load_dataset(str(folder / "digits"), 0).test.x
    with Cascade.open(bundle) as cascade:
        stats = cascade(x).stats()
    assert stats is not None
    assert stats.decisions == len(x)
    assert not stats.drift


def test_a_stage_that_does_not_exist_is_told_with_those_that_do(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(folder, "stages.9") == 1
    assert "stages.1" in capsys.readouterr().err


@pytest.fixture(scope="module")
def parted(folder: Path) -> Parted:
    """Both experts, where they part, and what they say of the data; nothing is fine-tuned."""
    data = str(folder / "digits")
    subject = load_subject(Origin(NETWORK, data, str(folder / "heavy.safetensors")), 0)
    heavy = subject.exported.model
    cut = find_cut(trunk_cuts(heavy), "stages.1")
    scores = score_subject(subject, "l1", 0)
    light = make_light(subject, scores, AllocationRequest(keep=0.5), Recovery(epochs=0), trunk=cut)
    held = subject.data.train.take(np.arange(200))
    (shared,) = (each for each in common_trunk(heavy, light.model) if each.heavy.tensors == cut.tensors)
    costs = [graph_costs(model) for model in (light.model, heavy)]
    experts = ExpertPair(light.model, heavy, *costs, subject.preprocessing, shared)
    return Parted(subject, light, experts, experts.answers(held))


@pytest.mark.parametrize("kind", ["trunk_energy", "negated_trunk_energy", "trunk_probe"])
def test_a_prior_of_the_trunk_is_a_graph_of_its_features(parted: Parted, kind: str, tmp_path: Path) -> None:
    subject, experts = parted.subject, parted.experts
    x, shape = subject.data.calibration, subject.data.test.x.shape[1:]
    rows = experts.answers(x)
    assert rows.features is not None
    probe = Probe(tuple(np.linspace(-1, 1, rows.features.shape[1]).tolist()), 0.25)
    expected = {
        "trunk_energy": rows.priors["trunk_energy"],
        "negated_trunk_energy": -rows.priors["trunk_energy"],
        "trunk_probe": expit(rows.features @ np.array(probe.weights) + probe.bias),
    }[kind]
    threshold = float(np.median(expected))
    choice = Choice(Measure(), np.zeros(1), EarlyTrial(kind, threshold, 1.0, 0.9), probe)
    router = Router(
        PriorRule(kind, "prior.onnx", "prior", threshold),
        ConfidenceRule("max_probability", "confidence", 0.5, 1.0),
        Guarantee("none", 0.1, 0.1, 100),
    )
    graphs = experts.graphs(choice, shape)
    full = InPrecision("fp32", Precision(experts.described, router, "golden.npz"), graphs, graphs.answers(x))
    charge = prior_charge(kind, experts.prior_costs(rows, shape))
    charged = replace(experts.macs, prior=charge)
    data, calibration = replace(subject.data, test=x), Calibration(router, choice, 0.5)
    made = write_experts(
        tmp_path / "b", experts, parted.light.plan, calibration, [full], charged, data, {"model": "digits"}
    )
    with Cascade.open(made, monitor=False) as cascade:
        np.testing.assert_allclose(cascade.prior(x.x), expected, rtol=1e-4, atol=1e-5)
        branches = cascade(x.x).branches
    clear = np.abs(expected - threshold) > 1e-4  # of rounding
    np.testing.assert_array_equal((branches == Branch.EARLY)[clear], (expected > threshold)[clear])
    assert 0 < made.manifest.costs.prior < 0.01


def test_priors_of_the_trunk_are_charged_for_what_they_read(parted: Parted) -> None:
    costs = parted.experts.prior_costs(parted.rows, parted.subject.data.test.x.shape[1:])
    assert costs["trunk_energy"] * graph_costs(parted.subject.exported.model).macs == pytest.approx(48 * 8 * 8)
    assert costs["trunk_probe"] > costs["trunk_energy"] > costs["input_l1"]


def test_the_experts_may_part_inside_a_block_where_two_tensors_cross(folder: Path) -> None:
    assert export(folder, "relu_1") == 0
    bundle = Bundle.open(folder / "bundle")
    trunk = bundle.manifest.experts.trunk
    assert trunk is not None
    assert len(trunk.outputs) == 2
    x = load_dataset(str(folder / "digits"), 0).test.x[:64]
    module = load_module(NETWORK, folder / "heavy.safetensors")
    with torch.no_grad():
        expected = module(torch.from_numpy(model_input(x, preprocessing_for(x)))).softmax(1).numpy()
    with Cascade.open(bundle, monitor=False) as cascade:
        np.testing.assert_allclose(cascade.heavy(x), expected, atol=1e-5)
        assert cascade(x).labels.tolist() == [int(cascade(row[None]).labels[0]) for row in x]
