"""`agfedge calibrate`: a bundle's thresholds chosen and certified anew."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from agfedge.cli import main
from agfedge_runtime import Bundle, Cascade
from agfedge_runtime.bundle.golden import load_golden
from agfedge_runtime.cascade.verify import verify_golden
from workshop import Workshop


@pytest.fixture(scope="module")
def fresh(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workshop's own data, all parts together."""
    with np.load(workshop.folder / "stripes.npz") as data:
        x, y = (np.concatenate([data[name] for name in data.files if name.startswith(part)]) for part in ("x", "y"))
    path = tmp_path_factory.mktemp("fresh") / "fresh.npz"
    np.savez(path, x=x, y=y)
    return path


def recalibrated(workshop: Workshop, fresh: Path, out: Path, *more: str) -> Bundle:
    assert main(["calibrate", str(workshop.bundle), "--data", str(fresh), "--out", str(out), "--json", *more]) == 0
    return Bundle.open(out)


def test_the_new_bundle_has_the_same_graphs_and_a_new_certificate(
    workshop: Workshop, fresh: Path, tmp_path: Path
) -> None:
    made, old = recalibrated(workshop, fresh, tmp_path / "new", "--epsilon", "0.1"), Bundle.open(workshop.bundle)
    for name in ("light.onnx", "heavy.onnx", "plan.json"):
        assert made.manifest.files[name] == old.manifest.files[name]
    guarantee = made.manifest.router.guarantee
    assert guarantee.epsilon == 0.1
    assert guarantee.delta == old.manifest.router.guarantee.delta
    assert guarantee.samples == round(0.6 * len(np.load(fresh)["y"]))


def test_its_golden_answers_are_its_own(workshop: Workshop, fresh: Path, tmp_path: Path) -> None:
    made = recalibrated(workshop, fresh, tmp_path / "new", "--epsilon", "0.1")
    with Cascade.open(made, monitor=False) as cascade:
        assert verify_golden(cascade, load_golden(made)).passed


def test_a_bundle_may_be_recalibrated_in_its_place(workshop: Workshop, fresh: Path, tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    first = recalibrated(workshop, fresh, out, "--epsilon", "0.1")
    command = ["calibrate", str(out), "--data", str(fresh), "--out", str(out), "--epsilon", "0.2"]
    assert main(command) == 0
    assert Bundle.open(out).manifest.router.guarantee.epsilon == 0.2
    assert first.manifest.files["heavy.onnx"] == Bundle.open(out).manifest.files["heavy.onnx"]


def test_the_same_command_gives_the_same_bundle(workshop: Workshop, fresh: Path, tmp_path: Path) -> None:
    one, two = (recalibrated(workshop, fresh, tmp_path / name, "--epsilon", "0.1") for name in ("one", "two"))
    assert one.digest == two.digest


def test_old_and_new_router_are_shown_beside_each_other(
    workshop: Workshop, fresh: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recalibrated(workshop, fresh, tmp_path / "new", "--epsilon", "0.1")
    said = json.loads(capsys.readouterr().out)
    assert 0 <= said["after"]["expected"] <= 1
    assert said["before"]["accuracy"]["samples"] == said["after"]["accuracy"]["samples"] > 0


def test_a_bound_that_the_data_cannot_certify_is_told_with_how_much_it_takes(
    workshop: Workshop, fresh: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["calibrate", str(workshop.bundle), "--data", str(fresh), "--out", str(tmp_path / "new")]
    assert main([*command, "--epsilon", "0.0001"]) == 1
    assert "it takes at least" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_data_of_other_shape_is_refused(workshop: Workshop, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(tmp_path / "other.npz", x=np.zeros((500, 3, 2, 2), np.float32), y=np.arange(500) % 2)
    command = ["calibrate", str(workshop.bundle), "--data", str(tmp_path / "other.npz"), "--out", str(tmp_path / "new")]
    assert main(command) == 1
    assert capsys.readouterr().err.startswith("agfedge: ")
