"""Thresholds with a guarantee.

The light expert answers what its prior lets through and its confidence covers. With probability at least 1 - delta over
the certifying split, the threshold returned here satisfies

    P(cascade wrong and heavy right) - P(cascade right and heavy wrong) <= epsilon,

that is: the cascade's accuracy is at most epsilon below the heavy expert's.

Method: Learn then Test (Angelopoulos et al., arXiv:2110.01052) with fixed-sequence testing. Thresholds are tried from
the strictest down a grid that does not depend on the certifying split; each is tested at level delta by `net_risk`, and
the first that fails ends the sequence. The last that passed is returned. The net risk is not monotone in anything: an
input that is escalated early may be a loss or a gain. So what is tested is the whole router, the early rule in force,
and everything else about it (prior, its threshold, measure, temperature) must have been chosen on other data.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, log
from typing import TYPE_CHECKING

import numpy as np

from agfedge.router.net_risk import critical_losses
from agfedge_runtime.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

METHOD = "learn-then-test, fixed sequence, exact unconditional test of the net risk"
NEVER = 2.0
"""A confidence threshold that nothing reaches: the heavy expert answers everything."""


@dataclass(frozen=True)
class Guarantee:
    """A certified threshold.

    Attributes:
        threshold: the lowest certified confidence, or `NEVER`.
        epsilon: bound on the net risk.
        delta: probability with which the bound may fail, over draws of the certifying split.
        samples: size of the certifying split.
        losses: on how many of them the cascade is wrong and the heavy expert right.
        gains: on how many of them the cascade is right and the heavy expert wrong.
    """

    threshold: float
    epsilon: float
    delta: float
    samples: int
    losses: int
    gains: int = 0


def threshold_grid(confidence: NDArray[np.floating]) -> NDArray[np.float64]:
    """Returns the thresholds to try, strictest first, down to 0: light answers everything.

    Args:
        confidence: (N,), of data that certifies nothing; the thresholds are 200 even quantiles of it.
    """
    quantiles = np.quantile(confidence.astype(np.float64), np.linspace(1, 0, 200))
    grid: NDArray[np.float64] = np.unique(np.append(np.clip(quantiles, 0, 1), 0.0))[::-1]
    return grid


def certify(
    confidence: NDArray[np.floating],
    light_right: NDArray[np.bool_],
    heavy_right: NDArray[np.bool_],
    grid: NDArray[np.float64],
    epsilon: float,
    delta: float,
    early: NDArray[np.bool_] | None = None,
) -> Guarantee:
    """Finds the lowest threshold whose net risk is certified.

    Args:
        confidence: the light expert's, (N,).
        light_right: whether its label is correct, (N,).
        heavy_right: likewise for the heavy expert, (N,).
        grid: thresholds to try, strictest first; chosen without these samples.
        epsilon: in (0, 1).
        delta: in (0, 1).
        early: what goes to the heavy expert whatever the confidence, (N,).

    Raises:
        InputError: epsilon or delta outside (0, 1), or too few samples to certify anything (says how many it takes).
    """
    check_bounds(epsilon, delta)
    samples = len(confidence)
    check_samples(samples, epsilon, delta)
    kept = np.ones(samples, dtype=bool) if early is None else ~early
    # In double precision, in which the runtime compares too.
    losses, gains = (
        reaching(confidence[kept & right & ~wrong].astype(np.float64), grid)
        for right, wrong in ((heavy_right, light_right), (light_right, heavy_right))
    )
    possible = int((light_right & ~heavy_right).sum())
    proved = losses <= critical_losses(samples, epsilon, delta, possible)[gains]
    last = len(grid) if proved.all() else int(np.argmin(proved))
    if last == 0:
        return Guarantee(NEVER, epsilon, delta, samples, 0, 0)
    return Guarantee(float(grid[last - 1]), epsilon, delta, samples, int(losses[last - 1]), int(gains[last - 1]))


def reaching(confidence: NDArray[np.float64], grid: NDArray[np.float64]) -> NDArray[np.intp]:
    """Counts how many confidences reach each threshold."""
    counts: NDArray[np.intp] = len(confidence) - np.searchsorted(np.sort(confidence), grid, side="left")
    return counts


def check_bounds(epsilon: float, delta: float) -> None:
    """Refuses bounds that are none.

    Raises:
        InputError: epsilon or delta is outside (0, 1).
    """
    for name, value in (("epsilon", epsilon), ("delta", delta)):
        if not 1e-9 <= value < 1:
            raise InputError(f"--{name} is {value}: expected a number between 0 and 1, such as 0.01")


def check_samples(samples: int, epsilon: float, delta: float) -> None:
    """Refuses a calibration split that can never certify the bound.

    Raises:
        InputError: it is too small; says how many it takes.
    """
    if not _certifiable(samples, epsilon, delta):
        raise InputError(
            f"{samples} calibration samples cannot certify epsilon {epsilon} at delta {delta}: "
            f"it takes at least {samples_needed(epsilon, delta)}; give more data or a larger --epsilon"
        )


def samples_needed(epsilon: float, delta: float) -> int:
    """Returns how many samples certify epsilon at delta when there is no loss and no gain."""
    high = max(1, ceil(log(1 / delta) / epsilon))
    while not _certifiable(high, epsilon, delta):
        high *= 2
    low = 0
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _certifiable(middle, epsilon, delta) else (middle, high)
    return high


def _certifiable(samples: int, epsilon: float, delta: float) -> bool:
    return samples > 0 and bool(critical_losses(samples, epsilon, delta, 0)[0] >= 0)


def guarantee_line(guarantee: Guarantee) -> str:
    """Returns a certificate in words."""
    return (
        f"guarantee: at most {guarantee.epsilon:.1%} of accuracy lost to the heavy expert, with probability "
        f"{1 - guarantee.delta:.0%} ({guarantee.samples} calibration samples: {guarantee.losses} lost, "
        f"{guarantee.gains} gained)"
    )
