"""What the experts' passes cost: measured on this machine, predicted for a device, or counted.

Measured, every graph takes its turn on one input, in ONNX Runtime on one thread.
"""

from __future__ import annotations

from time import perf_counter_ns
from typing import TYPE_CHECKING

import numpy as np

from agfedge.allocate.kernels import graph_kernels
from agfedge.base.onnx_run import OnnxRun
from agfedge.base.requests import suggestion
from agfedge_export.heads.heads import attach_heads
from agfedge_export.trunk.split import split
from agfedge_export.trunk.trunk_heads import split_experts
from agfedge_profiles import load_cost_model
from agfedge_runtime.bundle.layout import Costs
from agfedge_runtime.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import onnx
    from numpy.typing import NDArray

    from agfedge.bundles.experts import ExpertPair
    from agfedge_profiles import CostModel

MEASURED, MACS, PREDICTED = "measured", "macs", "predicted"
# Rounds that are timed, and rounds before them.
ROUNDS, WARM_UP = 150, 15


def charges_of(by: str | None, target: str | None) -> tuple[str, Callable[[ExpertPair, NDArray[np.generic]], Costs]]:
    """Returns what costs are counted in, in words, and what finds them for two experts and a raw input (1, ...).

    Args:
        by: "measured", "macs" or "predicted"; None for predicted where there is a target, else measured.
        target: a device profile, or the path of a table of measured layers (.json), that predicts.

    Raises:
        InputError: there is no such way or profile, or none to predict by.
    """
    way = by or (MEASURED if target is None else PREDICTED)
    if way == MACS:
        return "multiply-accumulates", lambda experts, _: experts.macs
    if way == MEASURED:
        return "latency on this machine, ONNX Runtime, one thread, one input at a time", measured_costs
    if way != PREDICTED:
        known = (MEASURED, MACS, PREDICTED)
        raise InputError(f"--costs is {by!r}{suggestion(way, known)}: choose {', '.join(known)}")
    if target is None:
        raise InputError(f"--costs {PREDICTED} needs the device that is predicted for: add --target")
    model = load_cost_model(target)
    means = "a model with assumed constants" if model.table is None else "a table of measured layers"
    where = f"{model.device.name}:{model.device.mode} at {model.default_precision}"
    return f"predicted latency on {where}, by {means}", lambda experts, _: predicted_costs(experts, model)


def predicted_costs(experts: ExpertPair, model: CostModel) -> Costs:
    """Predicts passes on a device, relative to the whole heavy expert, without a prior.

    At fp16, or in the precision of the device's table.

    Raises:
        ModelError: a graph's shapes cannot be inferred.
    """
    graphs = {"whole": experts.heavy, "light": experts.light}
    if experts.trunk is not None:
        own, other = split(experts.heavy, experts.trunk.heavy), split(experts.light, experts.trunk.light)
        graphs |= {"trunk": own.trunk, "heavy": own.tail, "light": other.tail}
    precision = model.default_precision
    return _relative({name: model.latency_us(graph_kernels(graph), precision) for name, graph in graphs.items()})


def measured_costs(experts: ExpertPair, image: NDArray[np.generic], rounds: int = ROUNDS) -> Costs:
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
        parts = split_experts(light, heavy, experts.trunk)
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
    return _relative({name: float(np.median(values)) for name, values in times.items()})


def _relative(cost: Mapping[str, float]) -> Costs:
    whole = cost["whole"]
    return Costs(cost["light"] / whole, trunk=cost.get("trunk", 0.0) / whole, heavy=cost.get("heavy", whole) / whole)
