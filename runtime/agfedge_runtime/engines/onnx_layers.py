"""What ONNX Runtime's profiler says of the nodes that it ran.

Its trace (``SessionOptions.enable_profiling``) has an event of the category ``Node`` for each node in each run, with
the time in whole microseconds: https://onnxruntime.ai/docs/performance/tune-performance/profiling-tools.html
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from agfedge_runtime.arrays import AnyArray

# Memory is taken, and kernels are chosen, in the first runs.
_WARM_UP = 5
_SUFFIX = "_kernel_time"


def layer_times(
    open_session: Callable[[Any], Any],
    options: Any,
    inputs: Mapping[str, AnyArray],
    outputs: Sequence[str],
    runs: int,
) -> list[tuple[str, float]]:
    """Run a session of its own with the profiler.

    Args:
        open_session: opens it with options.
        options: ONNX Runtime's; the profiler is switched on in them.
        inputs: by name.
        outputs: names.
        runs: how many runs count.

    Returns:
        Name and mean microseconds a run of each node, in the order in which they ran.
    """
    with tempfile.TemporaryDirectory(prefix="agfedge-") as folder:
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "layers")
        session = open_session(options)
        for _ in range(_WARM_UP + runs):
            session.run(list(outputs), dict(inputs))
        trace = Path(session.end_profiling()).read_text(encoding="utf-8")
    return mean_times(trace, runs)


def mean_times(trace: str, runs: int) -> list[tuple[str, float]]:
    """Name and mean microseconds of each node over its last runs, from the profiler's JSON."""
    found: dict[tuple[str, str], list[float]] = {}
    for event in json.loads(trace):
        name = str(event.get("name", ""))
        # Beside the kernel's time older versions list the fences around it.
        if event.get("cat") == "Node" and name.endswith(_SUFFIX):
            # Two nodes may share a name, an index they do not.
            key = (name[: -len(_SUFFIX)], str(event.get("args", {}).get("node_index", "")))
            found.setdefault(key, []).append(float(event["dur"]))
    return [(name, sum(times[-runs:]) / len(times[-runs:])) for (name, _), times in found.items()]
