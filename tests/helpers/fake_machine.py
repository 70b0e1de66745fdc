"""A device made of the two fakes: a GPU and a version of TensorRT, which open engines as a real one would."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx.parser
import pytest

from agfedge_runtime.arrays import AnyArray
from agfedge_runtime.engines import OnnxRuntimeEngine
from agfedge_runtime.engines.tensorrt.build.child import build
from agfedge_runtime.engines.tensorrt.build.device import Device
from agfedge_runtime.engines.tensorrt.build.library import open_library
from agfedge_runtime.engines.tensorrt.build.options import BuildOptions
from agfedge_runtime.engines.tensorrt.build.store import EngineStore
from agfedge_runtime.engines.tensorrt.run.engine import TensorRtEngine
from agfedge_runtime.engines.tensorrt.run.runner import ExecutionOptions
from fake_pycuda import FakeGpu
from fake_tensorrt import FakeTensorRt


class FakeMachine:
    """A GPU, a TensorRT, and a folder for graphs and engines.

    Args:
        monkeypatch: puts the modules in place.
        folder: for graphs and engines.
        version: of TensorRT.
        integrated: whether CPU and GPU share their memory.
        name: the module's name.
    """

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        folder: Path,
        version: str = "10.3.0",
        integrated: bool = False,
        name: str = "tensorrt",
    ) -> None:
        self.gpu = FakeGpu(integrated)
        self.tensorrt = FakeTensorRt(version, self.gpu, name)
        self.folder = folder
        self.gpu.install(monkeypatch)
        self.tensorrt.install(monkeypatch)
        # A test that failed may have left its GPU there.
        monkeypatch.setattr("agfedge_runtime.engines.tensorrt.run.cuda._sessions", {})
        # Engines are built in this process, and kept where the test can see them.
        monkeypatch.setattr("agfedge_runtime.engines.tensorrt.run.engine.EngineStore", self.store)

    def store(self, library: object = None) -> EngineStore:
        """The store of this machine's engines, which builds in this process."""
        return EngineStore(open_library(self.tensorrt.name), self.folder / "engines", Device(), build)

    def engine(
        self,
        graph: bytes,
        name: str = "light.onnx",
        batch: tuple[int, int, int] = (1, 1, 8),
        **options: int | str | bool,
    ) -> TensorRtEngine:
        """Build and open an engine; `options` are of `ExecutionOptions`."""
        path = self.folder / name
        path.write_bytes(graph)
        return TensorRtEngine(
            path,
            1,
            self.tensorrt.name,
            build=BuildOptions("fp32", batch),
            execution=ExecutionOptions(**options),  # type: ignore[arg-type]
        )


class Reference:
    """What ONNX Runtime answers on the CPU; one engine for each graph.

    Args:
        folder: for the graphs.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._engines: dict[bytes, OnnxRuntimeEngine] = {}

    def __call__(
        self, graph: bytes, x: AnyArray, outputs: Sequence[str] = ("probabilities", "confidence", "prior")
    ) -> list[AnyArray]:
        if graph not in self._engines:
            path = self._folder / f"{len(self._engines)}.onnx"
            path.write_bytes(graph)
            self._engines[graph] = OnnxRuntimeEngine(path)
        return self._engines[graph].run({"x": x}, tuple(outputs))


def equal(found: Sequence[AnyArray], wanted: Sequence[AnyArray]) -> None:
    """Fail unless all arrays are the same, bit by bit."""
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype


def model(text: str) -> bytes:
    """An ONNX model from its text."""
    found: bytes = onnx.parser.parse_model(text).SerializeToString()
    return found
