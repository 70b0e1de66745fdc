"""The table of layers that a run measured, for `export --budget --target FILE` and `search --costs FILE`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from agfedge.account.layers import LayeredGraph, bundle_that_ran, match_layers, own_times, precision_of, stage_graphs
from agfedge.account.prediction import GENERIC, device_of, device_that_ran, measured_us
from agfedge_profiles import (
    CostModel,
    LatencyTable,
    LayerPoint,
    load_cost_model,
    model_precision,
    roofline_of,
    write_table,
)
from agfedge_profiles.cost import TABLE_SUFFIX
from agfedge_runtime.errors import InputError

if TYPE_CHECKING:
    from agfedge_profiles import Kernel, Roofline
    from agfedge_runtime import Bundle
    from agfedge_runtime.profile.samples import Layer, Samples


@dataclass(frozen=True)
class _Seen:
    """One layer of one graph."""

    kernel: Kernel
    channels: tuple[int, int]
    us: float


def table_of(samples: Samples, graphs: Mapping[str, LayeredGraph], device: str) -> LatencyTable:
    """Makes a table of a run.

    A layer in which the backend fused several kernels stands for none of them alone: it counts for the scale only.

    Args:
        samples: of a run that timed its layers.
        graphs: by stage.
        device: the device profile, with its power mode, that fills the table's gaps.

    Raises:
        InputError: the run timed no layers, or there is no such profile.
    """
    timed = {stage: graph for stage, graph in graphs.items() if samples.layers.get(stage)}
    if not timed:
        raise InputError(
            f"the run timed no layers ({samples.backend} at {samples.environment.get('backend_version', '')}): measure "
            "with --layers, on a backend that has a profiler"
        )
    model, alone = load_cost_model(device), measured_us(samples)
    layers, _ = own_times(samples.layers, alone)
    table = LatencyTable(
        device=device_of(model),
        power_mode=_power_mode(samples),
        backend=samples.backend,
        backend_version=str(samples.environment.get("backend_version", "")),
        precision=precision_of(samples),
        threads=samples.threads,
        bundle_digest=samples.bundle_digest,
        run_us=0.0,
        scale=_scale(roofline_of(model.device, model_precision(precision_of(samples))), timed, layers),
        layers=_points([seen for stage, graph in timed.items() for seen in _seen(graph, layers[stage])]),
    )
    predicts = CostModel(model.device, table).latency_us
    beside = [alone[stage] - predicts(graph.kernels, table.precision) for stage, graph in timed.items()]
    return replace(table, run_us=max(0.0, sum(beside) / len(beside)))


def _scale(roofline: Roofline, graphs: Mapping[str, LayeredGraph], layers: Mapping[str, Sequence[Layer]]) -> float:
    """Returns what all layers took, over what the roofline says."""
    took = sum(layer.us for stage in graphs for layer in layers[stage])
    if not took > 0:
        raise InputError("the profiler says that no layer took any time: measure again with --layers")
    return took / sum(roofline.kernel_us(kernel) for graph in graphs.values() for kernel in graph.kernels)


def _seen(graph: LayeredGraph, layers: Sequence[Layer]) -> Iterator[_Seen]:
    matched, _ = match_layers([graph], [layers])
    for match in matched:
        (part,) = match.parts
        if len(part.launches) == 1 and part.us > 0:
            (number,) = part.launches
            yield _Seen(graph.kernels[number], graph.channels(number) or (0, 0), part.us)


def _points(layers: list[_Seen]) -> tuple[LayerPoint, ...]:
    """Brings together what is alike."""
    alike: dict[tuple[str, int, int, int, int], list[float]] = {}
    for seen in layers:
        kernel = seen.kernel
        key = (kernel.kind, *seen.channels, int(kernel.macs), max(1, int(kernel.elements)))
        alike.setdefault(key, []).append(seen.us)
    points = [LayerPoint(*key, us=sum(times) / len(times), count=len(times)) for key, times in alike.items()]
    return tuple(sorted(points, key=lambda point: (point.kind, point.size, point.channels_in)))


def _power_mode(samples: Samples) -> str:
    before = (samples.state or {}).get("before")
    mode = before.get("power_mode") if isinstance(before, Mapping) else None
    return str(mode.get("name") or mode.get("number") or "") if isinstance(mode, Mapping) else ""


def check_asked(path: Path | None, device: str | None) -> None:
    """Refuses what could not be predicted or written after minutes of measuring.

    Args:
        path: of the table, or None where none is saved.
        device: a device profile or, where no table is saved, a table; None for the generic profile.

    Raises:
        InputError: the device is none, or the file's name or folder is no good.
    """
    model = load_cost_model(device or GENERIC)
    if path is None:
        return
    if path.suffix != TABLE_SUFFIX:
        raise InputError(f"--save-table {path}: expected a name that ends in {TABLE_SUFFIX}, by which a table is known")
    if not path.absolute().parent.is_dir():
        raise InputError(f"--save-table {path}: there is no folder {path.parent}; make it first")
    device_of(model)


def save_table(path: Path, samples: Samples, bundle: Bundle, device: str | None) -> None:
    """Writes the table of a run.

    Raises:
        InputError: the run timed no layers, or was of another bundle, or the file cannot be written.
    """
    if samples.bundle_digest != bundle.digest:
        raise InputError(
            f"--save-table: the samples are of bundle {samples.bundle_digest[:12]}, asked for {bundle.digest[:12]}: "
            "their layers are not its; give the bundle that was measured"
        )
    graphs = stage_graphs(bundle_that_ran(samples, bundle))
    write_table(path, table_of(samples, graphs, device_that_ran(samples, device)))
