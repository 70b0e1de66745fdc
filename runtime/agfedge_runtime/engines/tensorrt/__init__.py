"""TensorRT 8.5 to 11, and TensorRT-RTX: engines built on the device, kept, and run."""

from __future__ import annotations

from agfedge_runtime.engines.tensorrt.build import BuildOptions, build_engine
from agfedge_runtime.engines.tensorrt.engine import TensorRtEngine
from agfedge_runtime.engines.tensorrt.library import Library, open_library
from agfedge_runtime.engines.tensorrt.runner import ExecutionOptions
from agfedge_runtime.engines.tensorrt.store import EngineStore, Plan

__all__ = [
    "BuildOptions",
    "EngineStore",
    "ExecutionOptions",
    "Library",
    "Plan",
    "TensorRtEngine",
    "build_engine",
    "open_library",
]
