"""Backends: what turns an expert's graph into something that runs."""

from __future__ import annotations

import logging
from pathlib import Path

from agfedge_runtime.engines.onnxruntime import OnnxRuntimeEngine
from agfedge_runtime.engines.protocol import Engine
from agfedge_runtime.errors import BackendError
from agfedge_runtime.machine.backends import AUTO, JUDGES, BackendChoice, choose_backend

__all__ = [
    "BACKENDS",
    "BackendChoice",
    "Engine",
    "OnnxRuntimeEngine",
    "choose_backend",
    "log_choice",
    "open_engine",
]

BACKENDS = tuple(JUDGES)

_TENSORRT = ("tensorrt", "tensorrt_rtx")
_LOGGER = logging.getLogger(__name__)


def open_engine(path: Path, backend: str | BackendChoice = AUTO, threads: int = 1, precision: str = "fp32") -> Engine:
    """Make an engine from an ONNX file.

    Args:
        path: the graph.
        backend: a name in `BACKENDS`, or ``auto`` for the best that is there; or a choice that was made before, so
            that several engines share one and it is logged once.
        threads: how many CPU threads one run may use.
        precision: what TensorRT may compute in; thresholds hold for the precision that they were calibrated for, so
            that an fp32 graph is not run in fp16. ONNX Runtime does what the graph's types say.

    Raises:
        BackendError: no such backend, or it cannot load the graph.
        InputError: `threads` is below 1.
        MissingPackageError: the backend's package is not installed.
    """
    choice = backend if isinstance(backend, BackendChoice) else log_choice(choose_backend(backend))
    try:
        return _opened(path, choice.backend, threads, precision)
    except BackendError as error:
        if not choice.automatic or choice.backend == "onnxruntime":
            raise
        raise BackendError(
            f"{error}; {choice.backend} was chosen since it is the best that is here, the backend onnxruntime does "
            "without it"
        ) from error


def log_choice(choice: BackendChoice) -> BackendChoice:
    """Log what was chosen and why; returns it."""
    _LOGGER.info("backend %s: %s", choice.backend, choice.reason)
    return choice


def _opened(path: Path, backend: str, threads: int, precision: str) -> Engine:
    if backend not in _TENSORRT:
        return OnnxRuntimeEngine(path, threads, backend)
    from agfedge_runtime.engines.tensorrt.build.options import BuildOptions
    from agfedge_runtime.engines.tensorrt.run.engine import TensorRtEngine

    return TensorRtEngine(path, threads, backend, build=BuildOptions(precision=precision))
