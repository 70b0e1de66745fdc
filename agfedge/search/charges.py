"""What the experts' passes cost, measured on this machine: every graph takes its turn on one input, on one thread."""

from __future__ import annotations

from time import perf_counter_ns
from typing import TYPE_CHECKING

import numpy as np

from agfedge.onnx_run import OnnxRun
from agfedge_export.heads import attach_heads
from agfedge_export.trunk_heads import split_experts
from agfedge_profiles import PassCosts

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

    from agfedge.experts import Experts

# Rounds that are timed, and rounds before them.
ROUNDS, WARM_UP = 150, 15


def measured_costs(experts: Experts, image: NDArray[np.generic], rounds: int = ROUNDS) -> PassCosts:
    """Measures passes as a bundle's graphs make them, relative to the whole heavy expert, without a prior.

    Medians: a shared machine disturbs some rounds by much.

    Args:
        experts: both graphs.
        image: raw input (1, ...).
        rounds: how many to time.

    Raises:
        BackendError: ONNX Runtime refuses a graph.
    """
    shape = image.shape[1:]
    light, heavy = (attach_heads(core, experts.preprocessing, shape) for core in (experts.light, experts.heavy))
    inputs: dict[str, list[NDArray[np.generic]]] = {"whole": [image]}
    models: dict[str, onnx.ModelProto] = {"whole": heavy}
    if experts.trunk is None:
        models["light"], inputs["light"] = light, [image]
    else:
        parts = split_experts(light, heavy, experts.trunk, ())
        models |= {"trunk": parts.trunk, "light": parts.light, "heavy": parts.heavy}
        features = OnnxRun(parts.trunk).once([image])
        inputs |= {"trunk": [image], "light": list(features), "heavy": list(features)}
    runs = {name: OnnxRun(model, threads=1) for name, model in models.items()}
    times: dict[str, list[int]] = {name: [] for name in runs}
    for step in range(WARM_UP + rounds):
        for name, run in runs.items():
            started = perf_counter_ns()
            run.once(inputs[name])
            if step >= WARM_UP:
                times[name].append(perf_counter_ns() - started)
    cost = {name: float(np.median(values)) for name, values in times.items()}
    whole = cost["whole"]
    return PassCosts(
        cost["light"] / whole, trunk=cost.get("trunk", 0.0) / whole, heavy=cost.get("heavy", whole) / whole
    )
