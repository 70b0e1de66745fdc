"""An export with a light expert of another origin, and the bundle that holds it."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest
import torch
from torch import nn

from agfedge.cli import main
from agfedge.data import load_dataset
from agfedge.subject.models import load_module
from agfedge.subject.preprocess import model_input, preprocessing_for
from agfedge_export.graph.from_torch import export_torch
from agfedge_runtime import Bundle, Cascade
from agfedge_runtime.bundle.golden import load_golden
from agfedge_runtime.cascade.verify import verify_golden
from foreign_graph import answers
from workshop import Workshop

pytestmark = pytest.mark.slow

Saved = Callable[..., Path]


def export(workshop: Workshop, out: Path, light: Path, *more: str) -> int:
    command = workshop.export(out, light=light, epochs=None, keep=None)
    return main([*command, *more])


def test_an_export_says_that_nothing_was_removed(
    workshop: Workshop, saved: Saved, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    light = saved()
    assert export(workshop, tmp_path / "a", light) == 0
    assert "light expert: a model of its own; nothing was removed" in capsys.readouterr().out
    assert export(workshop, tmp_path / "b", light, "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["check"], printed["spent"], printed["kept_whole"]) == (None, None, [])
    one, other = Bundle.open(tmp_path / "a"), Bundle.open(tmp_path / "b")
    assert one.digest == other.digest
    assert set(one.manifest.files) == {"heavy.onnx", "light.onnx", "golden.npz", "report.html"}
    assert {**one.manifest.provenance, "agfedge": ""} == {
        "agfedge": "", "model": "nets.py:Residual", "light": "other.onnx", "seed": 0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--keep", "0.5"), "--keep"),
        (("--budget", "0.5"), "--budget"),
        (("--align", "8"), "--align"),
        (("--no-drop-branches",), "--drop-branches"),
        (("--score", "l2"), "--score"),
        (("--epochs", "3"), "--epochs"),
        (("--batch-size", "8"), "--batch-size"),
        (("--exclude", "conv"), "--exclude"),
        (("--per-layer", "layers.toml"), "--per-layer"),
        (("--learning-rate", "1", "--of", "macs", "--score", "l1"), "--of, --score, --learning-rate"),
    ],
)
def test_options_that_mean_nothing_beside_it_are_named(
    workshop: Workshop,
    saved: Saved,
    tmp_path: Path,
    options: tuple[str, ...],
    expected: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert export(workshop, tmp_path / "out", saved(), *options) == 1
    assert capsys.readouterr().err == (
        f"agfedge: --light takes a light expert as it is, which nothing prunes or trains: leave out {expected}\n"
    )
    assert not (tmp_path / "out").exists()


def test_a_missing_file_is_told_before_any_work(
    workshop: Workshop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(workshop, tmp_path / "out", tmp_path / "no.onnx") == 1
    assert capsys.readouterr().err.endswith("no.onnx: no such file\n")


def test_a_trunk_that_is_not_the_same_cannot_be_shared(
    workshop: Workshop, saved: Saved, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(workshop, tmp_path / "out", saved(), "--share-trunk", "stem") == 1
    assert "the experts differ before the cut" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


NETWORK = "agfedge.demo.network:digits_net"


class Thin(nn.Module):
    """Another architecture than the heavy expert's."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 12, 3, 2, 1)
        self.linear = nn.Linear(12 * 16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(nn.functional.gelu(self.conv(x)).flatten(1))


class Early(nn.Module):
    """The first stages of a heavy expert, as they are, and an exit of its own."""

    def __init__(self, heavy: nn.Module) -> None:
        super().__init__()
        self.conv, self.bn, self.stages = heavy.conv, heavy.bn, heavy.stages[:2]
        self.exit = nn.Linear(48, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.exit(self.stages(torch.relu(self.bn(self.conv(x)))).mean((2, 3)))


def trained(module: nn.Module, parameters: object, folder: Path) -> tuple[nn.Module, torch.Tensor]:
    data = load_dataset(str(folder / "digits"), 0).train
    x, y = torch.from_numpy(model_input(data.x, preprocessing_for(data.x))), torch.from_numpy(data.y)
    optimizer = torch.optim.Adam(parameters, 0.01)
    for step in range(120):
        batch = torch.arange(128 * step, 128 * (step + 1)) % len(x)
        optimizer.zero_grad()
        nn.functional.cross_entropy(module(x[batch]), y[batch]).backward()
        optimizer.step()
    return module.eval(), x


@pytest.fixture(scope="module")
def folder(beside_digits: Path) -> Path:
    """Digits, a heavy expert, and two light ones of other origins."""
    folder = beside_digits
    torch.manual_seed(1)
    thin = Thin()
    thin, x = trained(thin, thin.parameters(), folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's exporter warns of torch
        torch.onnx.export(
            thin, (x[:2],), folder / "thin.onnx", dynamo=True, verbose=False, opset_version=18, external_data=False,
            dynamic_shapes=({0: torch.export.Dim("images")},),
        )  # fmt: skip
    early = Early(load_module(NETWORK, folder / "heavy.safetensors")).eval()
    early, x = trained(early, early.exit.parameters(), folder)
    onnx.save(export_torch(early, x[:2]).model, folder / "early.onnx")
    return folder


def digits(folder: Path, name: str, *more: str) -> Bundle:
    command = ("export", "--model", NETWORK, "--weights", f"{folder}/heavy.safetensors", "--data", f"{folder}/digits")
    out = folder / f"{name}-bundle"
    assert main([*command, "--light", str(folder / name), "--out", str(out), "--epsilon", "0.05", *more]) == 0
    return Bundle.open(out)


@pytest.fixture(scope="module")
def bundle(folder: Path) -> Bundle:
    return digits(folder, "thin.onnx")


def test_another_architecture_goes_all_the_way(
    bundle: Bundle, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bundle.manifest.router.confidence.threshold <= 1
    assert bundle.manifest.costs.light < 0.05
    test = load_dataset(str(folder / "digits"), 0).test
    expected = answers(onnx.load(folder / "thin.onnx"), model_input(test.x, preprocessing_for(test.x)), 64)
    with Cascade.open(bundle) as cascade:
        assert verify_golden(cascade, load_golden(bundle)).passed
        assert (cascade.light(test.x).argmax(1) == expected.argmax(1)).all()
    capsys.readouterr()
    data = str(folder / "digits" / "test")
    assert main(["profile", str(bundle.path), "--data", data, "--json", "--time", "0s"]) == 0
    assert json.loads(capsys.readouterr().out)["light"]["accuracy"]["value"] > 0.8
    assert main(["deploy", str(bundle.path), str(tmp_path / "device")]) == 0
    out = tmp_path / "again"
    assert main(["calibrate", str(bundle.path), "--data", str(folder / "digits" / "test"), "--out", str(out)]) == 0


def test_inspect_says_that_there_is_no_plan(bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["inspect", str(bundle.path)]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[-1] == (
        "light expert: a model of its own (thin.onnx); nothing was removed, so there is no plan"
    )
    assert main(["inspect", str(bundle.path), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["groups"], printed["kept_whole"]) == ([], [])
    assert printed["manifest"]["provenance"]["light"] == "thin.onnx"
    assert main(["inspect", str(bundle.path), "--plan", "plan.json"]) == 1
    assert "--plan is for ONNX files" in capsys.readouterr().err


def test_the_heavy_experts_own_first_stages_are_shared(folder: Path) -> None:
    bundle = digits(folder, "early.onnx", "--share-trunk", "stages.1")
    experts, costs = bundle.manifest.experts, bundle.manifest.costs
    assert experts.trunk is not None
    assert experts.light.macs == 48 * 10
    assert costs.trunk + costs.heavy == pytest.approx(1)
    test = load_dataset(str(folder / "digits"), 0).test
    x = model_input(test.x, preprocessing_for(test.x))
    with Cascade.open(bundle) as cascade:
        assert verify_golden(cascade, load_golden(bundle)).passed
        found = cascade.light(test.x)
    np.testing.assert_array_equal(found.argmax(1), answers(onnx.load(folder / "early.onnx"), x, 64).argmax(1))
