"""A bundle in other precisions: its own graphs and thresholds, and what it answers otherwise."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from agfedge.bundles import assembling
from agfedge.bundles.precisions import check_precisions
from agfedge.cli import main
from agfedge.data import Dataset, load_dataset
from agfedge_export.precision.regions import HALF
from agfedge_runtime import Bundle, Cascade
from agfedge_runtime.bundle.golden import load_golden
from agfedge_runtime.cascade.verify import verify_golden
from agfedge_runtime.cli import main as device
from agfedge_runtime.errors import InputError
from tensorrt_build import builds
from workshop import Workshop

pytestmark = pytest.mark.slow

TIMEOUT_S = 120


Made = tuple[Bundle, list[dict]]


def converted(workshop: Workshop, out: Path) -> Made:
    """The workshop's export with both precisions: the bundle, and what `--json` says of them."""
    told = io.StringIO()
    with contextlib.redirect_stdout(told):
        assert main([*workshop.export(out, epochs=2), "--precision", "fp16,int8", "--json"]) == 0
    return Bundle.open(out), json.loads(told.getvalue())["precisions"]


@pytest.fixture(scope="module")
def data(workshop: Workshop) -> Dataset:
    return load_dataset(str(workshop.folder / "stripes.npz"), 0)


@pytest.fixture(scope="module")
def made(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Made:
    return converted(workshop, tmp_path_factory.mktemp("precisions") / "bundle")


def test_every_graph_is_there_in_every_precision(made, workshop: Workshop) -> None:
    bundle, _ = made
    old = Bundle.open(workshop.bundle)
    assert set(bundle.manifest.files) - set(old.manifest.files) == {
        f"{name}.{precision}.{kind}"
        for precision in ("fp16", "int8")
        for name, kind in (("light", "onnx"), ("heavy", "onnx"), ("golden", "npz"))
    }
    same = set(old.manifest.files) - {"report.html"}
    assert {name: bundle.manifest.files[name] for name in same} == {name: old.manifest.files[name] for name in same}
    half, quantized = (onnx.load(bundle.path / f"light.{precision}.onnx") for precision in ("fp16", "int8"))
    assert HALF in {tensor.data_type for tensor in half.graph.initializer}
    assert "QuantizeLinear" in {node.op_type for node in quantized.graph.node}


def test_the_page_tells_thresholds_accuracy_and_flips_of_each_precision(made) -> None:
    bundle, reports = made
    page = bundle.file("report.html").read_text(encoding="utf-8")
    assert page.count("<h2>Precisions</h2>") == 1
    for report in reports:
        assert f"<td>{report['precision']}</td>" in page
        assert f"<td>{report['cascade']['value']:.2%}</td>" in page
        assert f"<td>{report['flips']['value']:.2%}</td>" in page


def test_without_a_precision_the_bundle_answers_as_before(made, workshop: Workshop) -> None:
    with Cascade.open(made[0], monitor=False) as cascade:
        assert verify_golden(cascade, load_golden(made[0])).passed
    assert made[0].manifest.router == Bundle.open(workshop.bundle).manifest.router


@pytest.mark.parametrize(("precision", "points"), [("fp16", 0.1), ("int8", 0.5)])
def test_a_precision_is_as_right_as_fp32(made, data: Dataset, precision: str, points: float) -> None:
    """Of 150 inputs one is 0.7 points."""
    bundle, reports = made
    report = next(each for each in reports if each["precision"] == precision)
    with Cascade.open(bundle, monitor=False) as cascade:
        light, heavy = (np.mean(run(data.test.x).argmax(1) == data.test.y) for run in (cascade.light, cascade.heavy))
    for found, expected in ((report["light"], light), (report["heavy"], heavy)):
        assert abs(found["value"] - expected) * 100 <= max(points, 100 / len(data.test) + 1e-9)


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_the_report_says_what_the_runtime_answers(made, data: Dataset, precision: str) -> None:
    bundle, reports = made
    report = next(each for each in reports if each["precision"] == precision)
    with Cascade.open(bundle, monitor=False) as full, Cascade.open(bundle, monitor=False, precision=precision) as lower:
        ours, theirs = lower(data.test.x).labels, full(data.test.x).labels
    assert report["cascade"]["count"] == int(np.sum(ours == data.test.y))
    assert report["flips"]["count"] == int(np.sum(ours != theirs))
    variant = bundle.manifest.precisions[precision]
    assert variant.accuracy.cascade == report["cascade"]["value"]
    assert variant.flip_rate == report["flips"]["value"]
    assert variant.router.confidence.threshold == report["threshold"]


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_the_thresholds_are_certified_on_what_the_precision_answers(made, data: Dataset, precision: str) -> None:
    bundle, _ = made
    router = bundle.manifest.precisions[precision].router
    assert router.guarantee.samples == len(data.calibration)
    with Cascade.open(bundle, monitor=False, precision=precision) as cascade:
        heavy = cascade.heavy(data.calibration.x).argmax(1)
        labels = cascade(data.calibration.x).labels
    lost = np.mean(heavy == data.calibration.y) - np.mean(labels == data.calibration.y)
    assert lost <= router.guarantee.epsilon


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_a_precision_has_golden_answers_of_its_own(made, precision: str) -> None:
    with Cascade.open(made[0], monitor=False, precision=precision) as cascade:
        assert verify_golden(cascade, load_golden(made[0], precision)).passed
        assert not verify_golden(cascade, load_golden(made[0])).passed


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_a_device_verifies_each_precision(made, precision: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["verify", str(made[0].path), "--backend", "onnxruntime", "--precision", precision]
    assert device([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["passed"] is True


def test_a_device_that_lacks_a_precision_says_so(workshop: Workshop, capsys: pytest.CaptureFixture[str]) -> None:
    assert device(["verify", str(workshop.bundle), "--precision", "int8"]) == 1
    assert "got the precision 'int8', the bundle has fp32" in capsys.readouterr().err


def test_the_same_command_gives_the_same_bytes(made, workshop: Workshop, tmp_path: Path) -> None:
    assert converted(workshop, tmp_path / "bundle")[0].digest == made[0].digest


def test_recalibration_certifies_every_precision_anew(made, workshop: Workshop, tmp_path: Path) -> None:
    with np.load(workshop.folder / "stripes.npz") as stripes:
        x, y = (np.concatenate([stripes[n] for n in stripes.files if n.startswith(part)]) for part in ("x", "y"))
    np.savez(tmp_path / "fresh.npz", x=x, y=y)
    command = ["calibrate", str(made[0].path), "--data", str(tmp_path / "fresh.npz"), "--epsilon", "0.1"]
    assert main([*command, "--out", str(tmp_path / "new")]) == 0
    new = Bundle.open(tmp_path / "new")
    assert set(new.manifest.precisions) == {"fp32", "fp16", "int8"}
    for variant in new.manifest.precisions.values():
        assert variant.router.guarantee.epsilon == 0.1
        assert variant.router.guarantee.samples == round(0.6 * len(y))
        assert variant.accuracy.samples == round(0.2 * len(y))
    for precision in new.manifest.precisions:
        with Cascade.open(new, monitor=False, precision=precision) as cascade:
            assert verify_golden(cascade, load_golden(new, precision)).passed


def test_people_see_the_precisions(made, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(made[0].path)]) == 0
    shown = capsys.readouterr().out
    assert "flips against fp32" in shown
    for report in made[1]:
        (row,) = (line for line in shown.splitlines() if line.startswith(report["precision"]))
        assert f"{report['cascade']['value']:.1%}" in row


def test_a_precision_that_the_bundle_lacks_is_told(workshop: Workshop) -> None:
    with pytest.raises(InputError, match="got the precision 'int8', the bundle has fp32; export it with"):
        Cascade.open(workshop.bundle, precision="int8")


def test_precisions_come_in_order_and_unknown_ones_are_told() -> None:
    assert check_precisions(["int8", "fp32", "fp16", "int8"]) == ("fp16", "int8")
    with pytest.raises(InputError, match="--precision fp8: expected of fp32, fp16, int8"):
        check_precisions(["fp8"])


@pytest.fixture(scope="module")
def parted(beside_digits: Path) -> tuple[dict, Bundle]:
    """Real images, experts that share a trunk, every precision: what `agfedge export --json` says, and the bundle."""
    folder = beside_digits
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        status = main(
            [
                *("export", "--model", "agfedge.demo.network:digits_net", "--out", str(folder / "bundle"), "--json"),
                *("--weights", str(folder / "heavy.safetensors"), "--data", str(folder / "digits")),
                *("--share-trunk", "stages.2", "--keep", "0.25", "--epochs", "2", "--learning-rate", "0.003"),
                *("--epsilon", "0.05", "--score", "l1", "--precision", "int8,fp16"),
            ]
        )
    assert status == 0
    return json.loads(out.getvalue()), Bundle.open(folder / "bundle")


def test_export_writes_and_reports_the_precisions(parted: tuple[dict, Bundle]) -> None:
    said, bundle = parted
    assert [each["precision"] for each in said["precisions"]] == ["fp16", "int8"]
    assert said["digest"] == bundle.digest
    for each in said["precisions"]:
        variant = bundle.manifest.precisions[each["precision"]]
        assert each["cascade"]["value"] == variant.accuracy.cascade
        graphs = [graph.file for _, graph in variant.experts.graphs]
        assert graphs[0] == f"trunk.{each['precision']}.onnx"
        assert set(variant.files.values()) <= set(bundle.manifest.files)
        assert each["size_bytes"] == sum(bundle.manifest.files[name].size for name in graphs)


@pytest.mark.parametrize(("precision", "points"), [("fp16", 0.1), ("int8", 0.5)])
def test_digits_are_named_as_in_fp32(parted: tuple[dict, Bundle], precision: str, points: float) -> None:
    """An input of the test split is 0.2 points; fp16 may change none, and int8 two."""
    said, _ = parted
    found = next(each for each in said["precisions"] if each["precision"] == precision)
    for expert in ("light", "heavy"):
        assert abs(found[expert]["value"] - said["test"][expert]["value"]) * 100 <= points


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_tensorrt_builds_every_graph_of_a_bundle(parted: tuple[dict, Bundle], precision: str) -> None:
    pytest.importorskip(
        "tensorrt_rtx", reason="pip install tensorrt-rtx-cu13, for Linux on x86-64", exc_type=ImportError
    )
    experts = parted[1].manifest.in_precision(precision).experts
    assert experts.trunk is not None
    for graph in (experts.trunk, experts.light, experts.heavy):
        assert builds(parted[1].file(graph.file), TIMEOUT_S) == "yes", graph.file


def test_torch_tensorrt_is_refused_before_any_work(
    workshop: Workshop, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert main([*workshop.export(tmp_path / "bundle"), "--torch-tensorrt", "--quiet"]) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "pip install 'torch-tensorrt>=" in line
    assert not (tmp_path / "bundle").exists()


def test_an_export_that_ends_before_all_its_precisions_are_made_leaves_no_bundle(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise InputError("cut short")

    monkeypatch.setattr(assembling, "in_precision", fails)

    assert main([*workshop.export(tmp_path / "bundle"), "--precision", "fp16"]) == 1
    assert not (tmp_path / "bundle").exists()
