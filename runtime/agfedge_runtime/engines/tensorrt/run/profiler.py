"""What TensorRT's profiler says of layers."""

from __future__ import annotations

from typing import Protocol, cast

from agfedge_runtime.engines.tensorrt.build.library import Library


class LayerProfiler(Protocol):
    """An ``IProfiler`` that keeps what it is told."""

    def begin_run(self) -> None:
        """What it is told from now on is of another run."""
        ...

    def means_us(self, forgotten: int) -> list[tuple[str, float]]:
        """Name and mean microseconds of each layer of all runs but some first ones, in the order in which they ran."""
        ...


def layer_profiler(library: Library) -> LayerProfiler:
    """A new profiler of a TensorRT."""

    class Profiler(library.module.IProfiler):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            library.module.IProfiler.__init__(self)
            self._runs: list[dict[str, float]] = []

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            run = self._runs[-1]
            run[layer_name] = run.get(layer_name, 0.0) + ms * 1e3

        def begin_run(self) -> None:
            self._runs.append({})

        def means_us(self, forgotten: int) -> list[tuple[str, float]]:
            runs = self._runs[forgotten:]
            names = {name: None for run in runs for name in run}
            return [(name, sum(run.get(name, 0.0) for run in runs) / len(runs)) for name in names]

    return cast("LayerProfiler", Profiler())
