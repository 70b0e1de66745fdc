"""Times of layers, by the backend's own profiler, in runs that nothing else times."""

from __future__ import annotations

from functools import partial
from typing import Callable, Mapping, Sequence

from agfedge_runtime.arrays import AnyArray
from agfedge_runtime.cascade.cascade import Cascade
from agfedge_runtime.engines.protocol import Engine, LayeredEngine
from agfedge_runtime.profile.stopwatch import PassingEngine, behind

RUNS = 50


def layer_times(cascade: Cascade, x: AnyArray, runs: int = RUNS) -> dict[str, list[dict[str, object]]]:
    """Time each layer of each stage.

    Args:
        cascade: whose.
        x: (1, ...), an input.
        runs: how many runs the times are the mean of.

    Returns:
        By stage, ``name`` and ``us`` of each layer in the order in which they ran; empty where the backend cannot tell.

    Raises:
        BackendError: the backend refused.
    """
    seen: dict[str, Callable[[], list[tuple[str, float]]]] = {}

    def noting(name: str, engine: Engine) -> Engine:
        return _Noting(engine, name, seen, runs)

    noted = behind(cascade, noting)
    # What was asked for two inputs, to see whether the graphs fit, is no decision.
    seen.clear()
    if cascade.has_prior:
        noted.prior(x)
    for part in (noted.trunk, noted.light, noted.heavy):
        part(x)
    found = {stage: [{"name": name, "us": us} for name, us in times()] for stage, times in seen.items()}
    return {stage: layers for stage, layers in found.items() if layers}


class _Noting(PassingEngine):
    """Notes how the layers of a stage would be timed."""

    def __init__(
        self,
        engine: Engine,
        stage: str,
        seen: dict[str, Callable[[], list[tuple[str, float]]]],
        runs: int,
    ) -> None:
        super().__init__(engine, stage)
        self._seen, self._runs = seen, runs

    def run(self, inputs: Mapping[str, AnyArray], outputs: Sequence[str]) -> list[AnyArray]:
        """See `Engine.run`."""
        stage = self._stage
        if stage not in self._seen and isinstance(self._engine, LayeredEngine):
            self._seen[stage] = partial(self._engine.layers, dict(inputs), tuple(outputs), self._runs)
        return self._engine.run(inputs, outputs)
