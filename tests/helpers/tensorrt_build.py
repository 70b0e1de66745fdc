"""Builds one ONNX file with TensorRT-RTX, which needs no GPU for it, and prints the outcome as JSON.

Run by the coverage benchmark in a process of its own: a crash or a hang of the builder is one row's outcome.
"""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

_BATCH = 2  # of the optimisation profile, where a dimension is symbolic


def tensorrt_version() -> str | None:
    """Returns the version of TensorRT-RTX, or None where it is not installed."""
    if find_spec("tensorrt_rtx") is None:
        return None
    import tensorrt_rtx

    return str(tensorrt_rtx.__version__)


def builds(path: Path, timeout_s: float = 600) -> str:
    """Builds a file in a child process.

    Returns:
        "yes", or the reason why not.
    """
    command = [sys.executable, __file__, str(path)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired:
        return f"no answer in {timeout_s:.0f} s"
    lines = done.stdout.strip().splitlines()
    if done.returncode != 0 or not lines:
        return f"builder ended with {done.returncode}: {done.stderr.strip()[-200:]}"
    return str(json.loads(lines[-1]))


def build(path: Path) -> str:
    """Builds a file in this process; returns as `builds` does."""
    import tensorrt_rtx as trt

    errors: list[str] = []

    class Log(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: trt.ILogger.Severity, message: str) -> None:
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                errors.append(message)

    log = Log()
    builder = trt.Builder(log)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, log)
    if not parser.parse_from_file(str(path)):
        return _first([parser.get_error(index).desc() for index in range(parser.num_errors)])
    config = builder.create_builder_config()
    profile = builder.create_optimization_profile()
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        if -1 in tensor.shape:
            shape = tuple(_BATCH if size == -1 else size for size in tensor.shape)
            profile.set_shape(tensor.name, shape, shape, shape)
    config.add_optimization_profile(profile)
    return "yes" if builder.build_serialized_network(network, config) is not None else _first(errors)


def _first(reasons: list[str]) -> str:
    return reasons[0].strip()[:300] if reasons else "no reason given"


if __name__ == "__main__":
    print(json.dumps(build(Path(sys.argv[1]))))
