"""The time series of a run: equally long lists by name, None where a reading had no such value."""

from __future__ import annotations

import math
from typing import Mapping

import numpy as np

from agfedge_runtime.arrays import Float64Array
from agfedge_runtime.errors import InputError

Series = Mapping[str, object]

# `own_us` is what a reading took: microseconds, its waiting for the devices' buses included.
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
