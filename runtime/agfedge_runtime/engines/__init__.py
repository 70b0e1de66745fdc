"""Backends: what turns an expert's graph into something that runs."""

from __future__ import annotations

from pathlib import Path

from agfedge_runtime.engines.onnxruntime import OnnxRuntimeEngine
from agfedge_runtime.engines.protocol import Engine
from agfedge_runtime.errors import BackendError

__all__ = ["BACKENDS", "Engine", "OnnxRuntimeEngine", "open_engine"]

# By preference: "auto" takes the first.
BACKENDS = {"onnxruntime": OnnxRuntimeEngine}


def open_engine(path: Path, backend: str = "auto", threads: int = 1) -> Engine:
    """Make an engine from an ONNX file.

    Args:
        path: the graph.
        backend: a name in `BACKENDS`, or ``auto`` for the best that is there.
        threads: how many CPU threads one run may use.

    Raises:
        BackendError: no such backend, or it cannot load the graph.
        InputError: `threads` is below 1.
        MissingPackageError: the backend's package is not installed.
    """
    known = ["auto", *BACKENDS]
    if backend not in known:
        raise BackendError(f"got the backend {backend!r}, expected one of {', '.join(known)}")
    chosen = next(iter(BACKENDS)) if backend == "auto" else backend
    return BACKENDS[chosen](path, threads)
