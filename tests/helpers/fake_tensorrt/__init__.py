"""The tensorrt module of a version, from that version's list of names: what the version lacks raises AttributeError.

It parses ONNX, "builds" plans that hold the graph, refuses plans of other versions, and executes: ONNX Runtime computes
the outputs, from and into the memory of a `fake_pycuda.FakeGpu`, in the order of its stream. Every call is recorded.
Failures are asked for: an operator to refuse, builds that fail with a message, enqueues that fail.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from fake_pycuda import FakeGpu
from fake_tensorrt.building import Builder, IBuilderConfig, IOptimizationProfile, ITimingCache
from fake_tensorrt.names import ENUMS, enum_of, names_of, restricted
from fake_tensorrt.networks import (
    IHostMemory,
    ILogger,
    INetworkDefinition,
    IProgressMonitor,
    ITensor,
    Logger,
    OnnxParser,
    ParserError,
)
from fake_tensorrt.running import ICudaEngine, IExecutionContext, IProfiler, Runtime

__all__ = ["VERSIONS", "FakeTensorRt", "names_of"]

VERSIONS = ("8.5.2", "8.6.1", "10.3.0", "10.13.3", "10.16", "11.1")

_CLASSES = (
    ILogger, Logger, IProgressMonitor, IHostMemory, ITimingCache, IOptimizationProfile, ITensor,
    INetworkDefinition, ParserError, OnnxParser, IBuilderConfig, Builder, Runtime, ICudaEngine,
    IExecutionContext, IProfiler,
)  # fmt: skip


class FakeTensorRt:
    """One version of the module, and what it was asked to do.

    Args:
        version: one of `VERSIONS`.
        gpu: what engines run on; without one they cannot be deserialized.
        name: the module's name, `tensorrt` or `tensorrt_rtx`.

    Attributes:
        module: what `import tensorrt` gives.
        calls: the name of every method called, as ``Class.method``, with its arguments.
        refused_operators: ONNX operators that the parser refuses.
        build_failures: what the next builds log before they answer None.
        enqueue_failures: what the next enqueues log before they answer False.
        null_contexts: whether no execution context can be made.
        activation_bytes: what an execution context needs, of engines that are deserialized from then on.
        dla_cores: how many DLA cores there are.
        on_deserialize: called with the runtime before it deserializes.
        layer_ms: what a profiler is told in each run.
        live_contexts: how many execution contexts are alive.
        live_engines: how many engines are.
    """

    def __init__(self, version: str, gpu: FakeGpu | None = None, name: str = "tensorrt") -> None:
        self.version, self.gpu, self.name = version, gpu, name
        self.calls: list[tuple[str, tuple[object, ...]]] = []
        self.refused_operators: set[str] = set()
        self.build_failures: list[str] = []
        self.enqueue_failures: list[str] = []
        self.null_contexts = False
        self.activation_bytes = 4096
        self.dla_cores = 0
        self.on_deserialize: Callable[[Any], object] = lambda runtime: None
        self.layer_ms: list[tuple[str, float]] = [("conv", 0.05), ("Reformatting CopyNode", 0.01), ("fc", 0.04)]
        self.live_contexts = 0
        self.live_engines = 0
        self.module = self._module()

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Put the module in place."""
        monkeypatch.setitem(sys.modules, self.name, self.module)

    def called(self, method: str) -> list[tuple[object, ...]]:
        """The arguments of every call of ``Class.method``."""
        return [arguments for name, arguments in self.calls if name == method]

    def number(self, part: int = 0) -> int:
        return int(self.version.split(".")[part])

    def _module(self) -> Any:
        module = ModuleType(self.name)
        names = names_of(self.version)
        for kind, values in ENUMS.items():
            if kind in names:
                setattr(module, kind, enum_of(kind, names[kind], values))
        severity = module.Severity  # type: ignore[attr-defined]
        del module.Severity  # type: ignore[attr-defined]
        for implementation in _CLASSES:
            kind = implementation.__name__
            if kind in names:
                setattr(module, kind, restricted(self, kind, implementation, names[kind]))
        for logger in (module.ILogger, module.Logger):  # type: ignore[attr-defined]
            logger.Severity = severity
            for member in ("INTERNAL_ERROR", "ERROR", "WARNING", "INFO", "VERBOSE"):
                setattr(logger, member, getattr(severity, member))
        module.__version__ = self.version + ".0"  # type: ignore[attr-defined]
        module.init_libnvinfer_plugins = lambda logger, namespace: True  # type: ignore[attr-defined]
        module.get_nv_onnx_parser_version = lambda: 0  # type: ignore[attr-defined]
        return module

    def log(self, logger: Any, severity: str, message: str) -> None:
        logger.log(getattr(self.module.ILogger.Severity, severity), message)
