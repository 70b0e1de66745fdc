"""ONNX files, written whole; large ones in two parts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from agfedge.cli import main
from agfedge_export.graph import model_io
from agfedge_export.graph.model_io import model_bytes, write_model
from agfedge_runtime.errors import InputError
from pruning import build

MODEL = build(
    "a = Conv(x, w1, b1)  r = Relu(a)  y = Conv(r, w2)",
    {"w1": (64, 3, 3, 3), "b1": (64,), "w2": (70, 64, 1, 1)},
)


@pytest.fixture
def small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretends that a file can hold no more than a few KiB."""
    monkeypatch.setattr(model_io, "LARGEST_FILE_BYTES", 4096)


def data_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.data"))


def test_a_model_that_fits_is_one_file(tmp_path: Path) -> None:
    write_model(tmp_path / "m.onnx", MODEL)
    assert onnx.load(tmp_path / "m.onnx") == MODEL
    assert data_files(tmp_path) == []


def test_the_size_is_told_without_writing(tmp_path: Path) -> None:
    write_model(tmp_path / "m.onnx", MODEL)
    assert abs(model_bytes(MODEL) - (tmp_path / "m.onnx").stat().st_size) < 300


@pytest.mark.usefixtures("small_files")
def test_a_model_that_does_not_fit_keeps_its_weights_beside_it(tmp_path: Path) -> None:
    write_model(tmp_path / "m.onnx", MODEL)
    assert (tmp_path / "m.onnx").stat().st_size < 4096
    assert [each.name.startswith("m.onnx.") for each in data_files(tmp_path)] == [True]
    read = onnx.load(tmp_path / "m.onnx")
    for ours, theirs in zip(read.graph.initializer, MODEL.graph.initializer, strict=True):
        assert ours.name == theirs.name
        np.testing.assert_array_equal(onnx.numpy_helper.to_array(ours), onnx.numpy_helper.to_array(theirs))
    assert read.graph.node == MODEL.graph.node
    assert read.opset_import == MODEL.opset_import


@pytest.mark.usefixtures("small_files")
def test_a_runtime_reads_the_two_parts(tmp_path: Path) -> None:
    write_model(tmp_path / "m.onnx", MODEL)
    x = np.ones((1, 3, 8, 8), dtype=np.float32)
    whole = onnxruntime.InferenceSession(MODEL.SerializeToString(), providers=["CPUExecutionProvider"])
    parts = onnxruntime.InferenceSession(str(tmp_path / "m.onnx"), providers=["CPUExecutionProvider"])
    np.testing.assert_array_equal(whole.run(None, {"x": x})[0], parts.run(None, {"x": x})[0])


@pytest.mark.usefixtures("small_files")
def test_numbers_that_are_not_stored_raw_are_written_too(tmp_path: Path) -> None:
    model = onnx.ModelProto()
    model.CopyFrom(MODEL)
    for tensor in model.graph.initializer:
        tensor.float_data.extend(onnx.numpy_helper.to_array(tensor).ravel().tolist())
        tensor.ClearField("raw_data")
    write_model(tmp_path / "m.onnx", model)
    write_model(tmp_path / "n.onnx", MODEL)
    assert data_files(tmp_path)[0].read_bytes() == data_files(tmp_path)[1].read_bytes()


@pytest.mark.usefixtures("small_files")
def test_the_same_model_gives_the_same_two_files(tmp_path: Path) -> None:
    written = []
    for _ in range(2):
        write_model(tmp_path / "m.onnx", MODEL)
        written.append({each.name: each.read_bytes() for each in tmp_path.iterdir()})
    assert written[0] == written[1]
    assert len(written[0]) == 2


def test_the_replaced_models_data_go_and_other_peoples_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    strangers = tmp_path / f"m.onnx.{'0' * 16}.data"
    strangers.write_bytes(b"of somebody else")
    with monkeypatch.context() as patch:
        patch.setattr(model_io, "LARGEST_FILE_BYTES", 4096)
        write_model(tmp_path / "m.onnx", MODEL)
        assert len(data_files(tmp_path)) == 2
    write_model(tmp_path / "m.onnx", MODEL)
    assert data_files(tmp_path) == [strangers]
    assert onnx.load(tmp_path / "m.onnx") == MODEL


@pytest.mark.usefixtures("small_files")
def test_prune_reads_and_writes_models_in_two_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_model(tmp_path / "m.onnx", MODEL)
    before = {each: each.read_bytes() for each in tmp_path.iterdir()}
    assert main(["prune", str(tmp_path / "m.onnx"), "-o", str(tmp_path / "o.onnx"), "--keep", "0.9"]) == 0
    assert {each: each.read_bytes() for each in before} == before
    assert [each.name.split(".")[0] for each in data_files(tmp_path)] == ["m", "o"]
    assert {each.name: each.dims[0] for each in onnx.load(tmp_path / "o.onnx").graph.initializer}["w1"] == 58


@pytest.mark.usefixtures("small_files")
def test_prune_may_replace_a_model_in_two_parts(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    write_model(path, MODEL)
    assert main(["prune", str(path), "-o", str(path), "--keep", "0.9"]) == 0
    assert len(data_files(tmp_path)) == 1
    assert {each.name: each.dims[0] for each in onnx.load(path).graph.initializer}["w1"] == 58


def test_a_place_that_cannot_be_written_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be written"):
        write_model(tmp_path / "nowhere" / "m.onnx", MODEL)
