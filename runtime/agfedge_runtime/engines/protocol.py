"""What the cascade asks of a backend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

from agfedge_runtime.arrays import AnyArray

# What a cascade's call may run, in this order.
STAGES = ("trunk", "prior", "light", "heavy")
# What a stage does by the device's own clock.
PARTS = ("copy_in", "compute", "copy_out")


class Engine(Protocol):
    """One graph, ready to run.

    Attributes:
        name: the backend's name.
        version: the backend's version.
        threads: how many CPU threads one run may use.
        input_names: the graph's inputs.
        output_names: the graph's outputs.
    """

    name: str
    version: str
    threads: int
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]

    def run(self, inputs: Mapping[str, AnyArray], outputs: Sequence[str]) -> list[AnyArray]:
        """Compute `outputs`; a backend may compute all that the graph has.

        Args:
            inputs: an array for each input, batch first.
            outputs: names of outputs; a tuple is quickest.

        Returns:
            One array for each name in `outputs`, in that order; they belong to the caller.

        Raises:
            BackendError: the backend refused, or the engine is closed.
        """
        ...

    def close(self) -> None:
        """Give back what the engine holds; safe to call twice."""
        ...


@runtime_checkable
class SharingEngine(Protocol):
    """What an engine may offer beside: arrays that stay where it computes, for the engines after it."""

    def share(self, inputs: Mapping[str, AnyArray]) -> Mapping[str, AnyArray]:
        """Inputs, once they are where this engine and those beside it take them from.

        A run with what this returns computes all outputs; further runs with it only hand out more of them. A batch
        that is too large for one run is returned as it is.
        """
        ...

    def run_shared(self, inputs: Mapping[str, AnyArray], outputs: Sequence[str]) -> Mapping[str, AnyArray]:
        """Outputs by name, where the engines after this one take them from; the host has one once it looks it up."""
        ...


class DeviceClock(Protocol):
    """Times what engines make the device do, by its own clock."""

    def begin(self, stage: str) -> None:
        """What is submitted from now on is part of `stage`; of the next one where `stage` is empty."""
        ...

    def take(self) -> dict[str, float]:
        """Microseconds since it was asked last, as ``heavy.compute``, for each stage that ran; waits for the device."""
        ...


@runtime_checkable
class ClockedEngine(Protocol):
    """What an engine of a device with a clock of its own offers beside."""

    def start_clock(self, clock: DeviceClock | None) -> DeviceClock:
        """Time what this engine does from now on: by a clock that an engine beside it started, or by a new one."""
        ...

    def stop_clock(self) -> None:
        """Run untimed again; safe to call twice."""
        ...


@runtime_checkable
class LayeredEngine(Protocol):
    """What an engine offers whose backend times layers."""

    def layers(self, inputs: Mapping[str, AnyArray], outputs: Sequence[str], runs: int) -> list[tuple[str, float]]:
        """Run many times, timed by the backend's profiler, apart from all other runs.

        Args:
            inputs: as for `Engine.run`.
            outputs: likewise.
            runs: how many runs the times are of, beside some that are forgotten.

        Returns:
            Name and mean microseconds a run of each layer, in the order in which they ran; none where the backend
            cannot tell.

        Raises:
            BackendError: the backend refused.
        """
        ...


def sharing(engine: Engine) -> SharingEngine | None:
    """The engine where it shares arrays, None where it works on the host's memory."""
    return engine if isinstance(engine, SharingEngine) else None
