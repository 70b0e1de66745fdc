"""Models that do not fit one file: every step takes them with their weights in a second file."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import numpy as np
import onnx
import pytest

import agfedge_export as ax
from agfedge_export.graph.model_io import LARGEST_FILE_BYTES, model_bytes, write_model
from nets import random_plan


@pytest.fixture
def small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretends that a file can hold no more than a few KiB."""
    for module in ("agfedge_export.surgery.check", "agfedge_export.graph.model_io"):
        monkeypatch.setattr(import_module(module), "LARGEST_FILE_BYTES", 4096)


def chain(width: int) -> onnx.ModelProto:
    """Two square layers of `width`, and a narrow one on each side."""
    graph = onnx.parser.parse_graph(
        """products (float[N, 16] x) => (float[N, 8] y) {
        a = MatMul(x, w0)  r = Relu(a)  b = MatMul(r, w1)  q = Relu(b)
        c = MatMul(q, w2)  p = Relu(c)  y = MatMul(p, w3)
        }"""
    )
    generator = np.random.default_rng(0)
    for index, shape in enumerate([(16, width), (width, width), (width, width), (width, 8)]):
        weight = generator.standard_normal(shape, dtype=np.float32)
        weight *= (2 / shape[0]) ** 0.5
        graph.initializer.append(onnx.numpy_helper.from_array(weight, f"w{index}"))
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=9)


def prune_from_file_to_file(folder: Path, model: onnx.ModelProto) -> onnx.ModelProto:
    """Returns what is read back; every step starts from files."""
    write_model(folder / "original.onnx", model)
    plan = random_plan(ax.analyse(folder / "original.onnx"))
    pruned = ax.prune(folder / "original.onnx", plan).model
    assert ax.check(ax.mask(folder / "original.onnx", plan), pruned).max_relative_error < 1e-4
    write_model(folder / "pruned.onnx", pruned)
    return onnx.load(folder / "pruned.onnx")


def shapes(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    return {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}


@pytest.mark.usefixtures("small_files")
def test_every_step_takes_a_model_in_two_files(tmp_path: Path) -> None:
    pruned = prune_from_file_to_file(tmp_path, chain(64))
    assert shapes(pruned) == {"w0": (16, 32), "w1": (32, 32), "w2": (32, 32), "w3": (32, 8)}
    assert sorted(path.name.split(".")[0] for path in tmp_path.glob("*.data")) == ["original", "pruned"]


@pytest.mark.usefixtures("small_files")
def test_a_difference_is_found_in_a_model_in_two_files() -> None:
    with pytest.raises(ax.SurgeryError, match="differs"):
        ax.check(chain(64), chain(65))


@pytest.mark.slow
def test_a_model_above_two_gigabytes(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    if request.config.getoption("markexpr") != "slow":
        pytest.skip("takes 15 GB of memory and two minutes: run with -m slow")
    model = chain(16400)
    assert model_bytes(model) > LARGEST_FILE_BYTES
    pruned = prune_from_file_to_file(tmp_path, model)
    assert shapes(pruned) == {"w0": (16, 8200), "w1": (8200, 8200), "w2": (8200, 8200), "w3": (8200, 8)}
