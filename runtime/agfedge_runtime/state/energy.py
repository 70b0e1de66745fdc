"""Energy per decision by branch, from power readings that are far apart beside a decision's millisecond."""

from __future__ import annotations

import dataclasses
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Mapping

import numpy as np

from agfedge_runtime.arrays import Float64Array, UInt8Array
from agfedge_runtime.bundle.router import Branch
from agfedge_runtime.errors import InputError
from agfedge_runtime.machine.machine import Command
from agfedge_runtime.state.sampler import StateSampler
from agfedge_runtime.state.validity import Series, during

_LEAST_READINGS = 20
_LEAST_DECISIONS = 30
# Readings that follow one another are alike: their error comes from the means of so many parts of the run.
_PARTS = 10
# Student's t for 95% and 9 degrees of freedom; the normal's for the many durations.
_T = 2.262
_Z = 1.960


@dataclass(frozen=True)
class IdlePower:
    """The power of the device while nothing is measured.

    Attributes:
        watts: mean.
        error_w: half the width of its 95% interval.
        readings: how many it is the mean of.
    """

    watts: float
    error_w: float
    readings: int


@dataclass(frozen=True)
class BranchEnergy:
    """Joules per decision of one branch, or of all.

    Attributes:
        decisions: how many.
        joules: per decision, above idle; None where it was not measured.
        interval: of `joules`, 95%.
        raw_joules: per decision with what the idle device takes anyway; None where it was not measured.
        reason: why it was not measured; empty where it was.
    """

    decisions: int
    joules: float | None = None
    interval: tuple[float, float] | None = None
    raw_joules: float | None = None
    reason: str = ""


@dataclass(frozen=True)
class Energy:
    """What decisions cost in energy; see `energy_by_branch` for what is assumed.

    Attributes:
        readings: of the power during the run.
        mean_w: mean of them, None where there are none.
        idle_w: the idle power that was taken off.
        decision: of a decision of the run, whatever its branch.
        branches: by name of `Branch` in lower case, those that were taken.
    """

    readings: int
    mean_w: float | None
    idle_w: float | None
    decision: BranchEnergy
    branches: Mapping[str, BranchEnergy]

    def to_dict(self) -> dict[str, object]:
        """The energies as plain JSON values."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class _Power:
    """Power while the device was busy, above idle, with its error; None where unknown, and why."""

    busy_w: float | None
    above_w: float | None
    error_w: float
    reason: str


def energy_by_branch(
    samples_start_s: Float64Array,
    cascade_us: Float64Array,
    branches: UInt8Array,
    series: Series,
    idle_w: float | None,
    *,
    idle_error_w: float = 0.0,
    busy_share: float = 1.0,
) -> Energy:
    """Estimate the energy of a decision by branch.

    A reading every 100 ms says nothing of one decision of a millisecond, and in an interleaved run every reading sees
    the same mixture. So this assumes that **the device takes the same power above idle whenever it computes**: a branch
    costs (mean power - idle power) / busy share * its mean duration. Branches then differ by their time alone; that one
    engine draws more than the other is not seen. The interval holds the errors of mean, idle power and duration, not of
    that assumption. Nothing is estimated where there are too few readings or decisions, or where the power under load
    cannot be told from idle.

    Args:
        samples_start_s: (n,) seconds, when each decision began, on the clock of the series.
        cascade_us: (n,) microseconds that each took.
        branches: (n,) values of `Branch`.
        series: readings of the power, as `StateSampler.series`.
        idle_w: watts of the idle device, as `measure_idle` finds; None where it is not known.
        idle_error_w: half the width of its 95% interval.
        busy_share: of the run's time, in which anything was computed, the engines alone included; below 1 where inputs
            come at a fixed rate.

    Raises:
        InputError: the series is malformed, the arrays have different lengths, or `busy_share` is not in (0, 1].
    """
    if not len(samples_start_s) == len(cascade_us) == len(branches):
        raise InputError(
            f"got {len(samples_start_s)} begins, {len(cascade_us)} durations and {len(branches)} branches, expected "
            "as many of each"
        )
    if not 0 < busy_share <= 1:
        raise InputError(f"got a busy share of {busy_share}, expected more than 0 and at most 1")
    seconds = cascade_us / 1e6
    begin, end = (samples_start_s.min(), (samples_start_s + seconds).max()) if len(seconds) else (0.0, -1.0)
    readings = during(series, "total_w", float(begin), float(end))
    power = _power(readings, idle_w, idle_error_w, busy_share)
    return Energy(
        readings=len(readings),
        mean_w=float(readings.mean()) if len(readings) else None,
        idle_w=idle_w,
        decision=_energy(seconds, power),
        branches={
            branch.name.lower(): _energy(seconds[branches == branch], power)
            for branch in Branch
            if np.any(branches == branch)
        },
    )


def measure_idle(
    root: Path = Path("/"), command: Command | None = None, seconds: float = 3.0, every_s: float = 0.1
) -> IdlePower | None:
    """Watch the device do nothing for so long; None where it tells no power, or too seldom.

    The caller sees to it that nothing runs; what else the device does is part of its idle power.
    """
    with StateSampler(root, command, every_s) as sampler:
        if sampler.before.total_w is not None:
            time.sleep(seconds)
    readings = during(sampler.series, "total_w", 0.0, math.inf)
    if len(readings) < _LEAST_READINGS:
        return None
    return IdlePower(float(readings.mean()), _error(readings), len(readings))


def _power(readings: Float64Array, idle_w: float | None, idle_error_w: float, busy_share: float) -> _Power:
    if len(readings) < _LEAST_READINGS:
        return _Power(None, None, 0.0, f"{len(readings)} power readings during the run, expected {_LEAST_READINGS}")
    mean = float(readings.mean())
    if idle_w is None:
        return _Power(mean if busy_share == 1 else None, None, 0.0, "the idle power is not known")
    above = (mean - idle_w) / busy_share
    error = math.hypot(_error(readings), idle_error_w) / busy_share
    if above <= error:
        reason = f"the power under load, {mean:.2f} W, cannot be told from {idle_w:.2f} W idle"
        return _Power(idle_w + above, None, 0.0, reason)
    return _Power(idle_w + above, above, error, "")


def _energy(seconds: Float64Array, power: _Power) -> BranchEnergy:
    count = len(seconds)
    if count < _LEAST_DECISIONS:
        return BranchEnergy(count, reason=f"{count} decisions, expected at least {_LEAST_DECISIONS}")
    mean = float(seconds.mean())
    raw = None if power.busy_w is None else power.busy_w * mean
    if power.above_w is None:
        return BranchEnergy(count, raw_joules=raw, reason=power.reason)
    joules = power.above_w * mean
    duration_error = _Z * float(seconds.std(ddof=1)) / math.sqrt(count)
    error = math.hypot(power.error_w * mean, power.above_w * duration_error)
    return BranchEnergy(count, joules, (max(joules - error, 0.0), joules + error), raw)


def _error(readings: Float64Array) -> float:
    means = np.array([part.mean() for part in np.array_split(readings, _PARTS)])
    return _T * float(means.std(ddof=1)) / math.sqrt(_PARTS)
