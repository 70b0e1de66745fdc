"""`agfedge export --share-trunk`: both experts keep the heavy expert's first stages, which run once."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from agfedge.cli.main import main
from agfedge.data import load_dataset
from agfedge.demo.digits import write_digits
from agfedge.demo.heavy import train_heavy
from agfedge.models import load_module
from agfedge.preprocess import model_input, preprocessing_for
from agfedge_runtime import Bundle, Cascade

NETWORK = "agfedge.demo.network:digits_net"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trunk")
    write_digits(folder / "digits")
    train_heavy(load_dataset(str(folder / "digits"), 0).train, folder / "heavy.safetensors", epochs=4)
    return folder


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
    assert main(["profile", str(bundle.path), "--data", str(folder / "digits" / "test"), "--json"]) == 0
    costs = json.loads(capsys.readouterr().out)["costs"]
    assert costs["mixture"] <= costs["expected"]
    assert costs["mixture"] <= costs["sequential"] < 2


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
