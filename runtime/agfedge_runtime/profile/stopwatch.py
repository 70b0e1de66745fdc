"""Times what a cascade's engines take inside its call, from outside: the cascade itself stays as it is.

Another cascade is made over the same engines, each behind an engine that passes everything on and looks at the clock.

Layers are timed by the backend's own profiler, in runs that nothing else times.
"""

from __future__ import annotations

import contextlib
from functools import partial
from time import perf_counter_ns
from typing import Callable, Mapping, Sequence

from agfedge_runtime.arrays import AnyArray
from agfedge_runtime.cascade.cascade import Cascade
from agfedge_runtime.engines.protocol import (
    PARTS,
    STAGES,
    ClockedEngine,
    DeviceClock,
    Engine,
    LayeredEngine,
    SharingEngine,
    sharing,
)

Wrap = Callable[[str, Engine], Engine]
LAYER_RUNS = 50


class Stopwatch:
    """Times the stages of a cascade's decisions, by the host's clock and where there is one by the device's.

    Leave it as a context manager, or call `stop`: until then the engines' runs are timed by the device's clock.

    Args:
        cascade: to time; it remains in use, and closes what both use.

    Attributes:
        cascade: decides as the one given does, and is timed.
        stages: what its call may run, in their order.
        device_parts: what the device's clock tells, as ``heavy.compute``; empty where there is none.
    """

    def __init__(self, cascade: Cascade) -> None:
        self.stages = stages_of(cascade)
        # By stage; what comes before any stage is known, as an input's way to the device, waits under "".
        self._spent_ns: dict[str, int] = {"": 0}
        self._device: DeviceClock | None = None
        self._clocked: list[ClockedEngine] = []
        with contextlib.ExitStack() as undo:
            undo.callback(self.stop)
            self._start_clocks(cascade)
            self.cascade = behind(cascade, self._timed())
            self.take()
            undo.pop_all()
        parts: tuple[str, ...] = () if self._device is None else PARTS
        self.device_parts = tuple(f"{stage}.{part}" for stage in self.stages for part in parts)

    def take(self) -> tuple[Mapping[str, float], Mapping[str, float]]:
        """Microseconds since it was asked last: by stage, and by `device_parts`; what did not run is not there.

        Where the device tells, this waits for it.
        """
        found = {stage: each / 1e3 for stage, each in self._spent_ns.items() if stage}
        # Emptied, not replaced: the engines hold it, too.
        self._spent_ns.clear()
        self._spent_ns[""] = 0
        return found, {} if self._device is None else self._device.take()

    def stop(self) -> None:
        """Let the engines run untimed again; safe to call twice."""
        for engine in self._clocked:
            engine.stop_clock()
        self._clocked = []

    def __enter__(self) -> Stopwatch:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def _start_clocks(self, cascade: Cascade) -> None:
        for engine in cascade.engines.values():
            if isinstance(engine, ClockedEngine):
                self._device = engine.start_clock(self._device)
                self._clocked.append(engine)

    def _timed(self) -> Wrap:
        def timed(name: str, engine: Engine) -> Engine:
            shares = sharing(engine)
            if shares is None:
                return _Timed(engine, name, self._spent_ns)
            return _TimedSharing(engine, name, self._spent_ns, shares, self._device)

        return timed


def stages_of(cascade: Cascade) -> tuple[str, ...]:
    """What a cascade's call may run, in the order of `STAGES`."""
    return tuple(stage for stage in STAGES if stage in cascade.engines)


def behind(cascade: Cascade, wrap: Wrap) -> Cascade:
    """The same cascade, each engine behind another.

    Args:
        cascade: whose engines they are.
        wrap: called with ``trunk``, ``prior``, ``light`` or ``heavy`` and its engine; returns what stands before it.
    """
    engines = {name: wrap(name, engine) for name, engine in cascade.engines.items()}
    return Cascade(
        cascade.manifest,
        engines["light"],
        engines["heavy"],
        cascade.digest,
        engines.get("trunk"),
        cascade.backend_reason,
        cascade.precision,
        engines.get("prior"),
    )


class PassingEngine:
    """An engine that passes everything on to another.

    Args:
        engine: the other.
        stage: what a run of it is.
    """

    def __init__(self, engine: Engine, stage: str) -> None:
        self.name, self.version, self.threads = engine.name, engine.version, engine.threads
        self.input_names, self.output_names = engine.input_names, engine.output_names
        self._engine, self._stage = engine, stage

    def run(self, inputs: Mapping[str, AnyArray], outputs: Sequence[str]) -> list[AnyArray]:
        """See `Engine.run`."""
        return self._engine.run(inputs, outputs)

    def close(self) -> None:
        """See `Engine.close`."""
        self._engine.close()


class _Timed(PassingEngine):
    def __init__(self, engine: Engine, stage: str, spent_ns: dict[str, int]) -> None:
        super().__init__(engine, stage)
        self._spent_ns = spent_ns

    def run(self, inputs: Mapping[str, AnyArray], outputs: Sequence[str]) -> list[AnyArray]:
        """See `Engine.run`."""
        started = perf_counter_ns()
        found = self._engine.run(inputs, outputs)
        self._book(started)
        return found

    def _book(self, started_ns: int) -> None:
        spent, stage = self._spent_ns, self._stage
        spent[stage] = spent.get(stage, 0) + perf_counter_ns() - started_ns


class _TimedSharing(_Timed):
    def __init__(
        self,
        engine: Engine,
        stage: str,
        spent_ns: dict[str, int],
        shares: SharingEngine,
        device: DeviceClock | None,
    ) -> None:
        super().__init__(engine, stage, spent_ns)
        self._shares, self._device = shares, device

    def run(self, inputs: Mapping[str, AnyArray], outputs: Sequence[str]) -> list[AnyArray]:
        """See `Engine.run`."""
        self._begin(self._stage)
        return super().run(inputs, outputs)

    def share(self, inputs: Mapping[str, AnyArray]) -> Mapping[str, AnyArray]:
        """See `SharingEngine.share`; it counts for the first stage that runs with it."""
        self._begin("")
        started = perf_counter_ns()
        found = self._shares.share(inputs)
        self._spent_ns[""] += perf_counter_ns() - started
        return found

    def run_shared(self, inputs: Mapping[str, AnyArray], outputs: Sequence[str]) -> Mapping[str, AnyArray]:
        """See `SharingEngine.run_shared`; what is not waited for here counts for the stage that waits."""
        self._begin(self._stage)
        started = perf_counter_ns()
        found = self._shares.run_shared(inputs, outputs)
        self._book(started)
        return found

    def _book(self, started_ns: int) -> None:
        super()._book(started_ns - self._spent_ns[""])
        self._spent_ns[""] = 0

    def _begin(self, stage: str) -> None:
        if self._device is not None:
            self._device.begin(stage)


def layer_times(cascade: Cascade, x: AnyArray, runs: int = LAYER_RUNS) -> dict[str, list[dict[str, object]]]:
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
    by_stage = {stage: [{"name": name, "us": us} for name, us in times()] for stage, times in seen.items()}
    return {stage: layers for stage, layers in by_stage.items() if layers}


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
