"""The time series of a run, equally long lists by name, and whether the run counts: the reasons why not."""

from __future__ import annotations

import math
from typing import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from agfedge_runtime.arrays import Float64Array
from agfedge_runtime.errors import InputError
from agfedge_runtime.state.reading import DeviceState
from agfedge_runtime.state.sensors import watched_zones

WATCHED = ("gpu", "emc")
# A clock that was held for a quarter of the run is the run's; steps of a clock's table are wider than 5%.
_REFERENCE_PERCENT = 75.0
_TOLERANCE = 0.05
# One reading may catch a clock between two steps.
_READINGS_BELOW = 2
_CLOCK_NAMES = {"gpu": "the GPU's", "emc": "the memory's (EMC)"}
# Short peaks, which count all the time on an uncapped power mode, at latencies that do not move.
_PEAKS = ("oc3",)
_OC_MEANINGS = {"oc1": " (under-voltage)", "oc2": " (average current)", "oc3": " (peak current)"}

Series = Mapping[str, object]
# `own_us` is what a reading took: microseconds, its waiting for the devices' buses included.
# None where a reading had no such value.
COLUMNS = ("t_s", "total_w", "gpu_mhz", "emc_mhz", "temperature_c", "throttling", "own_us")


def column(series: Series, name: str) -> Float64Array:
    """A list of the series as float64, NaN for None; as long as `t_s`.

    Raises:
        InputError: the list is missing, is no list of numbers, or has another length than `t_s`.
    """
    values = series.get(name)
    if not isinstance(values, (list, tuple)) or not all(_is_cell(value) for value in values):
        raise InputError(f"state.series.{name}: expected a list of numbers and nulls; measure again with this release")
    times = series.get("t_s")
    if not isinstance(times, (list, tuple)) or len(times) != len(values):
        raise InputError(f"state.series.{name}: expected as many values as in t_s, got {len(values)}")
    return np.array([math.nan if value is None else value for value in values], np.float64)


def during(series: Series, name: str, begin_s: float, end_s: float) -> Float64Array:
    """The numbers of a list whose reading came from `begin_s` to `end_s`, without gaps; see `column`."""
    times, values = column(series, "t_s"), column(series, name)
    picked: Float64Array = values[(times >= begin_s) & (times <= end_s) & np.isfinite(values)]
    return picked


def _is_cell(value: object) -> bool:
    return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool))


def validity(
    before: DeviceState,
    series: Series,
    after: DeviceState,
    *,
    watch: Sequence[str] = WATCHED,
    tolerance: float = _TOLERANCE,
    end_s: float = math.inf,
) -> list[str]:
    """Why a run does not count, a line each; nothing where it does, as far as the device tells.

    A run does not count where an over-current counter moved; a cooling device lowered clocks; a zone reached a trip
    point; the power mode changed; or a watched clock was, in two readings or more, further below the run's own clock
    (its 75th percentile during the run) than the tolerance. What a device does not tell cannot make a run invalid.

    Args:
        before: the device's state before the run.
        series: readings during it, as `StateSampler.series`; those before 0 s are warm-up and do not count.
        after: the device's state after it.
        watch: the clocks that matter, of "gpu" and "emc".
        tolerance: relative fall of a clock that is still no fall.
        end_s: when the run ended, on the clock of the series; later readings do not count.

    Raises:
        InputError: the series is malformed.
    """
    return [
        *_over_current(before.over_current, after.over_current),
        *_throttling(before, during(series, "throttling", 0.0, end_s), after),
        *_temperature(before, during(series, "temperature_c", 0.0, end_s), after),
        *_power_mode(before, after),
        *_clocks({name: during(series, f"{name}_mhz", 0.0, end_s) for name in watch}, tolerance),
    ]


def _over_current(before: Mapping[str, int], after: Mapping[str, int]) -> Iterator[str]:
    for name, count in after.items():
        was = before.get(name)
        what = f"the over-current counter {name}{_OC_MEANINGS.get(name, '')}"
        if was is not None and count > was and name not in _PEAKS:
            yield f"{what} went from {was} to {count}: the supply was at its limit; use a lower power mode"
        elif was is not None and count < was:
            yield f"{what} went back from {was} to {count}: the device restarted meanwhile; measure again"


def _throttling(before: DeviceState, levels: Float64Array, after: DeviceState) -> Iterator[str]:
    for when, state in (("before", before), ("after", after)):
        names = [name for name, level in state.throttling.items() if level > 0]
        if names:
            yield f"the device was throttled {when} the run ({', '.join(names)}); let it cool down, or cool it better"
    if np.any(levels > 0):
        yield f"the device was throttled in {_of(levels > 0)} readings during the run; cool it better"


def _temperature(before: DeviceState, values: Float64Array, after: DeviceState) -> Iterator[str]:
    for when, state in (("before", before), ("after", after)):
        for zone, value in state.temperatures_c.items():
            trip = state.trips_c.get(zone)
            if trip is not None and value >= trip:
                yield f"{zone} was at {value:.1f} C {when} the run, at its trip point of {trip:.1f} C; cool it better"
    zones = watched_zones(before.temperatures_c)
    trip = min((before.trips_c[zone] for zone in zones if zone in before.trips_c), default=None)
    if trip is not None and np.any(values >= trip):
        yield (
            f"{', '.join(zones)}: up to {values.max():.1f} C during the run, "
            f"at the trip point of {trip:.1f} C; cool it better"
        )


def _power_mode(before: DeviceState, after: DeviceState) -> Iterator[str]:
    was, now = before.power_mode, after.power_mode
    if was is not None and now is not None and was != now:
        yield (
            f"the power mode changed from {was.name or was.number} to {now.name or now.number} during the run; "
            "measure again in one mode"
        )


def _clocks(clocks: Mapping[str, Float64Array], tolerance: float) -> Iterator[str]:
    for name, values in clocks.items():
        if not len(values):
            continue
        reference = float(np.percentile(values, _REFERENCE_PERCENT))
        below = values < reference * (1 - tolerance)
        if np.count_nonzero(below) >= _READINGS_BELOW:
            yield (
                f"{_CLOCK_NAMES.get(name, name)} clock fell from {reference:.0f} to {values.min():.0f} MHz in "
                f"{_of(below)} readings of the run (tolerated: {tolerance:.0%}); lock the clocks, or cool the device"
            )


def _of(picked: npt.NDArray[np.bool_]) -> str:
    return f"{np.count_nonzero(picked)} of {len(picked)}"
