"""A series of latencies, summarised."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from agfedge.base.statistics import mean_of, percentile, variation

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Latency:
    """Microseconds a decision, or a run of a stage.

    Attributes:
        count: samples.
        mean_us: their mean.
        low_us: lower end of the mean's 95% bootstrap interval; None where there are too few for one.
        high_us: upper end.
        p50_us: median.
        p90_us: 90th percentile, None below 64 samples.
        p99_us: 99th percentile, None below 662 samples.
        variation: coefficient of variation, standard deviation over mean; None below two samples.
    """

    count: int
    mean_us: float
    low_us: float | None
    high_us: float | None
    p50_us: float | None
    p90_us: float | None
    p99_us: float | None
    variation: float | None


def latency_of(times_us: NDArray[np.float64]) -> Latency | None:
    """Returns the summary of times (N,) in the order in which they were taken; None where there are none."""
    if not len(times_us):
        return None
    mean = mean_of(times_us)
    p50, p90, p99 = (percentile(times_us, percent) for percent in (50, 90, 99))
    return Latency(len(times_us), mean.value, *mean.interval, p50, p90, p99, variation(times_us))
