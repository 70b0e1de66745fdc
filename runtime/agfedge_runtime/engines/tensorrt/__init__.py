"""TensorRT 8.5 to 11, and TensorRT-RTX: engines built on the device, kept, and run."""

from __future__ import annotations

from agfedge_runtime.engines.tensorrt.build.builder import BuildOptions, build_engine
from agfedge_runtime.engines.tensorrt.build.library import Library, open_library
from agfedge_runtime.engines.tensorrt.build.store import EnginePlan, EngineStore
from agfedge_runtime.engines.tensorrt.run.engine import TensorRtEngine
from agfedge_runtime.engines.tensorrt.run.runner import ExecutionOptions

__all__ = [
    "BuildOptions",
    "EnginePlan",
    "EngineStore",
    "ExecutionOptions",
    "Library",
    "TensorRtEngine",
    "build_engine",
    "open_library",
]
