"""Thresholds with a guarantee.

The light expert answers when its confidence reaches a threshold. With probability at least 1 - delta over the
calibration split, the threshold returned here satisfies

    P(cascade wrong and heavy right) <= epsilon,

and so the cascade's accuracy is at most epsilon below the heavy expert's.

Method: Learn then Test (Angelopoulos et al., arXiv:2110.01052) with fixed-sequence testing. Thresholds are tried from
the strictest down a grid that does not depend on the data; each is tested with the exact binomial tail
p = P(Binomial(n, epsilon) <= k), k the number of bad answers, which is super-uniform when the risk is above epsilon;
the first that is not rejected at level delta ends the sequence. The last rejected threshold is returned.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, log, log1p
from typing import TYPE_CHECKING

import numpy as np

from agfedge_runtime.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

METHOD = "learn-then-test, fixed sequence, exact binomial"
NEVER = 2.0
"""A confidence threshold that nothing reaches: the heavy expert answers everything."""


@dataclass(frozen=True)
class Guarantee:
    """A certified threshold.

    Attributes:
        threshold: the lowest certified confidence, or `NEVER`.
        epsilon: bound on P(cascade wrong and heavy right).
        delta: probability with which the bound may fail, over draws of the calibration split.
        samples: size of the calibration split.
        bad_answers: how many of them the light expert answers wrongly while the heavy expert is right.
    """

    threshold: float
    epsilon: float
    delta: float
    samples: int
    bad_answers: int


def threshold_grid(classes: int) -> NDArray[np.float64]:
    """Returns the thresholds to try, strictest first: 200 from 1 - 1e-6 down to chance, even in log(1 - threshold)."""
    return 1 - np.logspace(-6, np.log10(1 - 1 / classes), 200)


def certify(
    confidence: NDArray[np.floating],
    light_right: NDArray[np.bool_],
    heavy_right: NDArray[np.bool_],
    classes: int,
    epsilon: float,
    delta: float,
) -> Guarantee:
    """Finds the lowest threshold whose risk is certified.

    Args:
        confidence: the light expert's, (N,).
        light_right: whether its label is correct, (N,).
        heavy_right: likewise for the heavy expert, (N,).
        classes: number of classes, which bounds a confidence from below.
        epsilon: in (0, 1).
        delta: in (0, 1).

    Raises:
        InputError: epsilon or delta outside (0, 1), or too few samples to certify anything (says how many it takes).
    """
    from scipy.stats import binom

    check_bounds(epsilon, delta)
    check_samples(len(confidence), epsilon, delta)
    grid = threshold_grid(classes)
    # In double precision, in which the runtime compares too.
    bad = np.sort(confidence[heavy_right & ~light_right].astype(np.float64))
    counts = len(bad) - np.searchsorted(bad, grid, side="left")
    rejected = binom.cdf(counts, len(confidence), epsilon) <= delta
    last = len(grid) if rejected.all() else int(np.argmin(rejected))
    threshold, count = (NEVER, 0) if last == 0 else (float(grid[last - 1]), int(counts[last - 1]))
    return Guarantee(threshold, epsilon, delta, len(confidence), count)


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
    needed = samples_needed(epsilon, delta)
    if samples < needed:
        raise InputError(
            f"{samples} calibration samples cannot certify epsilon {epsilon} at delta {delta}: "
            f"it takes at least {needed}; give more data or a larger --epsilon"
        )


def samples_needed(epsilon: float, delta: float) -> int:
    """Returns how many samples certify epsilon at delta when not one answer is bad: (1 - epsilon)^n <= delta."""
    return max(1, ceil(log(delta) / log1p(-epsilon)))
