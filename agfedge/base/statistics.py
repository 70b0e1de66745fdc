"""Values with their intervals, and percentiles, as the tables print them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# The fewest samples for which a percentile is printed: MLPerf Inference asks for 64 (90th) and 662 (99th).
PERCENTILE_FLOORS = {50: 1, 90: 64, 99: 662}


@dataclass(frozen=True)
class Estimate:
    """A value with its 95% interval, which is NaN where there were too few samples for one."""

    value: float
    low: float
    high: float

    @property
    def interval(self) -> tuple[float | None, float | None]:
        """The interval's ends; None where there is none."""
        return (None, None) if np.isnan(self.low) else (self.low, self.high)

    def over(self, whole: float) -> Estimate:
        """Returns what the value is in parts of `whole`."""
        return Estimate(self.value / whole, self.low / whole, self.high / whole)


def exact(value: float) -> Estimate:
    """Returns a value that has no interval."""
    return Estimate(value, float("nan"), float("nan"))


@dataclass(frozen=True)
class Share(Estimate):
    """The share that some samples are of all, with its 95% Wilson interval."""

    count: int
    samples: int


def share_of(hits: NDArray[np.bool_], independent: int | None = None) -> Share:
    """Returns the share of True with its 95% Wilson score interval (Wilson, 1927).

    Args:
        hits: (N,), N at least 1.
        independent: how many of the samples are independent, where some are repetitions that tell nothing new: the
            interval is that of so many; None for all.
    """
    from scipy.stats import binomtest

    count, samples = int(hits.sum()), len(hits)
    alone = samples if independent is None else min(independent, samples)
    interval = binomtest(round(count / samples * alone), alone).proportion_ci(0.95, method="wilson")
    return Share(count / samples, float(interval.low), float(interval.high), count, samples)


def ratio_of_means(above: NDArray[np.float64], below: NDArray[np.float64], seed: int = 0) -> Estimate:
    """Returns the ratio of two means for paired samples (N,), with a percentile bootstrap over pairs."""
    from scipy.stats import bootstrap

    value = float(above.mean() / below.mean())
    if len(above) < 2:
        return exact(value)
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
    return Estimate(value, float(result.confidence_interval.low), float(result.confidence_interval.high))


def mean_of(samples: NDArray[np.float64], seed: int = 0) -> Estimate:
    """Returns the mean of samples (N,) in the order in which they were taken, N at least 1, with its interval.

    What follows one another on a machine is alike (clocks, temperature, other load), so blocks of about N^(1/3)
    consecutive samples are resampled instead of samples: Carlstein (1986, doi:10.1214/aos/1176350057), block length
    after Hall, Horowitz and Jing (1995, doi:10.1093/biomet/82.3.561).
    """
    return replace(ratio_over_time(samples, np.ones(len(samples)), seed), value=float(samples.mean()))


def ratio_over_time(above: NDArray[np.float64], below: NDArray[np.float64], seed: int = 0) -> Estimate:
    """Returns mean(above) / mean(below) for paired samples (N,) in the order they were taken in; see `mean_of`."""
    starts = np.arange(0, len(above), max(1, round(len(above) ** (1 / 3))))
    return ratio_of_means(np.add.reduceat(above, starts), np.add.reduceat(below, starts), seed)


def mean_by(samples: NDArray[np.float64], groups: NDArray[np.int64], seed: int = 0) -> Estimate:
    """Returns the mean of samples (N,), N at least 1, with its interval by resampling whole groups (N,).

    For what repeats alike within a group, as the way of an input does each time the input comes.
    """
    _, group = np.unique(groups, return_inverse=True)
    sums, counts = np.bincount(group, samples).astype(np.float64), np.bincount(group).astype(np.float64)
    return replace(ratio_of_means(sums, counts, seed), value=float(samples.mean()))


def variation(samples: NDArray[np.float64]) -> float | None:
    """Returns the coefficient of variation, standard deviation over mean; None below two samples or for a mean of 0."""
    mean = float(samples.mean()) if len(samples) > 1 else 0.0
    return float(samples.std(ddof=1)) / mean if mean else None


def percentile(samples: NDArray[np.float64], percent: int) -> float | None:
    """Returns a percentile, or None below its sample floor."""
    if len(samples) < PERCENTILE_FLOORS[percent]:
        return None
    return float(np.percentile(samples, percent))
