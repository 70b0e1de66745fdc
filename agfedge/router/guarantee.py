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
from agfedge_runtime.bundle.router import Guarantee
from agfedge_runtime.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

METHOD = "learn-then-test, fixed sequence, exact unconditional test of the net risk"
NEVER = 2.0
"""A confidence threshold that nothing reaches: the heavy expert answers everything."""


@dataclass(frozen=True)
class Bound:
    """What the cascade may lose of the heavy expert's accuracy, and how surely.

    Attributes:
        epsilon: bound on the net risk.
        delta: probability with which it may fail, over draws of the certifying split.
    """

    epsilon: float
    delta: float

    def check(self) -> None:
        """Refuses a bound that is none.

        Raises:
            InputError: epsilon or delta is outside (0, 1).
        """
        for name, value in (("epsilon", self.epsilon), ("delta", self.delta)):
            if not 1e-9 <= value < 1:
                raise InputError(f"--{name} is {value}: expected a number between 0 and 1, such as 0.01")

    def check_samples(self, samples: int) -> None:
        """Refuses a calibration split that can never certify the bound.

        Raises:
            InputError: it is too small; says how many it takes.
        """
        if not self._certifiable(samples):
            raise InputError(
                f"{samples} calibration samples cannot certify epsilon {self.epsilon} at delta {self.delta}: "
                f"it takes at least {self.samples_needed()}; give more data or a larger --epsilon"
            )

    def samples_needed(self) -> int:
        """Returns how many samples certify the bound when there is no loss and no gain."""
        high = max(1, ceil(log(1 / self.delta) / self.epsilon))
        while not self._certifiable(high):
            high *= 2
        low = 0
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self._certifiable(middle) else (middle, high)
        return high

    def _certifiable(self, samples: int) -> bool:
        return samples > 0 and bool(critical_losses(samples, self.epsilon, self.delta, 0)[0] >= 0)


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
    bound: Bound,
    early: NDArray[np.bool_] | None = None,
) -> tuple[float, Guarantee]:
    """Finds the lowest threshold whose net risk is certified.

    Args:
        confidence: the light expert's, (N,).
        light_right: whether its label is correct, (N,).
        heavy_right: likewise for the heavy expert, (N,).
        grid: thresholds to try, strictest first; chosen without these samples.
        bound: to certify.
        early: what goes to the heavy expert whatever the confidence, (N,).

    Returns:
        The threshold, `NEVER` where none is certified, and what is promised at it.

    Raises:
        InputError: epsilon or delta outside (0, 1), or too few samples to certify anything (says how many it takes).
    """
    bound.check()
    samples = len(confidence)
    bound.check_samples(samples)
    epsilon, delta = bound.epsilon, bound.delta
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
        return NEVER, Guarantee(METHOD, epsilon, delta, samples, 0, 0)
    promised = Guarantee(METHOD, epsilon, delta, samples, int(losses[last - 1]), int(gains[last - 1]))
    return float(grid[last - 1]), promised


def reaching(confidence: NDArray[np.float64], grid: NDArray[np.float64]) -> NDArray[np.intp]:
    """Counts how many confidences reach each threshold."""
    counts: NDArray[np.intp] = len(confidence) - np.searchsorted(np.sort(confidence), grid, side="left")
    return counts
