"""Intervals and percentiles, as the tables print them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# The fewest samples for which a percentile is printed: MLPerf Inference asks for 64 (90th) and 662 (99th).
PERCENTILE_FLOORS = {50: 1, 90: 64, 99: 662}


@dataclass(frozen=True)
class Share:
    """A share of samples with its 95% Wilson interval."""

    value: float
    low: float
    high: float
    count: int
    samples: int


def share_of(hits: NDArray[np.bool_]) -> Share:
    """Returns the share of True with its 95% Wilson score interval (Wilson, 1927); `hits` is (N,), N at least 1."""
    from scipy.stats import binomtest

    count, samples = int(hits.sum()), len(hits)
    interval = binomtest(count, samples).proportion_ci(0.95, method="wilson")
    return Share(count / samples, float(interval.low), float(interval.high), count, samples)


@dataclass(frozen=True)
class RatioOfMeans:
    """The ratio of two means over the same samples, with its 95% bootstrap interval."""

    value: float
    low: float
    high: float


def ratio_of_means(above: NDArray[np.float64], below: NDArray[np.float64], seed: int = 0) -> RatioOfMeans:
    """Returns mean(above) / mean(below) for paired samples (N,), with a percentile bootstrap over pairs."""
    from scipy.stats import bootstrap

    value = float(above.mean() / below.mean())
    if len(above) < 2:
        return RatioOfMeans(value, float("nan"), float("nan"))
    result = bootstrap(
        (above, below),
        lambda a, b, axis: a.mean(axis=axis) / b.mean(axis=axis),
        paired=True,
        vectorized=True,
        n_resamples=2000,
        batch=200,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    return RatioOfMeans(value, float(result.confidence_interval.low), float(result.confidence_interval.high))


def percentile(samples: NDArray[np.float64], percent: int) -> float | None:
    """Returns a percentile, or None below its sample floor."""
    if len(samples) < PERCENTILE_FLOORS[percent]:
        return None
    return float(np.percentile(samples, percent))
