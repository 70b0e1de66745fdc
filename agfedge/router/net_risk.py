"""The test behind the guarantee: is the net risk below epsilon?

Of n inputs the cascade loses B (it is wrong where the heavy expert is right) and gains C (the reverse); (B, C) is
trinomial with chances (l, g). The null hypothesis is l - g >= epsilon, and g is a nuisance. In the words of clinical
trials: non-inferiority of paired proportions.

The test is unconditional and exact. It rejects in the region R = {b <= h(c)}, whose shape is the score statistic
(Tango, Statistics in Medicine 17:891, 1998; Nam, Biometrics 53:1422, 1997)

    T(b, c) = (b - c - n epsilon) / sqrt(n (2 g~ + epsilon - epsilon^2)) <= -z,

g~ the likelihood's maximum where l = g + epsilon; and whose size z is the least at which no null hypothesis is rejected
with a chance above the level (Hsueh, Liu and Chen, Biometrics 57:478, 2001; Sidik, Statistics in Medicine 22:265,
2003). T needs only to give the region a good shape: the level is computed exactly for whatever shape it has.

Why cells of g suffice: h does not decrease, so an input that turns from a loss to nothing, or from nothing to a gain,
never leaves R. Hence P(R) falls with l and rises with g (couple the inputs one by one). So the worst l is g + epsilon,
and over a cell g1 <= g <= g2 the chance is at most P(R) at (l, g) = (g1 + epsilon, g2): no point is missed.

Only g up to a limit need be looked at (Berger and Boos, JASA 89:1012, 1994): the upper Clopper-Pearson limit of the
chance of *any* gain, on the same samples, which fails with a chance of at most gamma; the rest of the level,
delta - gamma, is the test's. A higher limit never enlarges R, so R for the true g's own limit contains it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

GAMMA = 0.02
"""Share of delta that pays for the limit on gains."""
_CELL = 0.03
"""Width of a cell in standard deviations of (B - C) / n: how much of z the bound over a cell may cost."""
_SIZES = np.arange(0, 4, 0.02) - 0.4
"""Sizes z to try, beyond the normal distribution's own quantile; a chance only falls along them."""
_TAIL = 1e-13


@lru_cache(maxsize=4096)
def critical_losses(samples: int, epsilon: float, delta: float, gains: int) -> NDArray[np.int64]:
    """Returns how many losses still prove, at level delta, that the net risk is below epsilon.

    Args:
        samples: n, of the certifying split.
        epsilon: in (0, 1).
        delta: in (0, 1).
        gains: on how many of the samples a cascade could gain at all: light right, heavy wrong.

    Returns:
        h, read-only int64 (gains + 1,): with c gains, b <= h[c] losses prove it; -1 where none do.
    """
    from scipy.stats import beta, binom, norm

    limit = 1.0 if gains == samples else float(beta.isf(GAMMA * delta, gains + 1, samples - gains))
    limit = min(limit, (1 - epsilon) / 2)
    edges = _cell_edges(samples, epsilon, limit)
    most = max(gains, int(binom.isf(_TAIL, samples, limit)))
    level = (1 - GAMMA) * delta
    sizes = norm.isf(level) + _SIZES
    low, high = -1, len(sizes)  # sizes[high] holds the level, sizes[low] does not
    while high - low > 1:
        middle = (low + high) // 2
        if _worst_chance(samples, epsilon, float(sizes[middle]), edges, most) <= level:
            high = middle
        else:
            low = middle
    found = np.full(gains + 1, -1)
    if high < len(sizes):
        found = _boundary(samples, epsilon, float(sizes[high]), most)[: gains + 1]
    found.setflags(write=False)
    return found


def _cell_edges(samples: int, epsilon: float, limit: float) -> NDArray[np.float64]:
    """Edges of the cells of g from 0 to the limit, (cells + 1,): even in the deviation sqrt(2 g + epsilon)."""
    low, high = np.sqrt(epsilon), np.sqrt(2 * limit + epsilon)
    cells = max(1, int(np.ceil((high - low) * np.sqrt(samples) / _CELL)))
    edges = (np.linspace(low, high, cells + 1) ** 2 - epsilon) / 2
    edges[0], edges[-1] = 0.0, limit
    result: NDArray[np.float64] = edges
    return result


def _worst_chance(samples: int, epsilon: float, size: float, edges: NDArray[np.float64], most: int) -> float:
    """Returns a bound on the chance of R under any null hypothesis with g between the first and last edge."""
    from scipy.stats import binom

    gain, loss = edges[1:, None], np.minimum(edges[:-1, None] + epsilon, 1 - edges[1:, None])
    first = np.maximum(binom.ppf(_TAIL, samples, gain), 0).astype(np.int64)
    last = binom.isf(_TAIL, samples, gain).astype(np.int64)
    counts = np.minimum(first + np.arange(int((last - first).max()) + 1), most)
    repeated = np.diff(counts, axis=1, prepend=-1) == 0
    allowed = _boundary(samples, epsilon, size, most)[counts]
    chance = binom.pmf(counts, samples, gain) * binom.cdf(allowed, samples - counts, loss / (1 - gain))
    chance[repeated] = 0
    return float(chance.sum(axis=1).max() + 2 * _TAIL)


def _boundary(samples: int, epsilon: float, size: float, most: int) -> NDArray[np.int64]:
    """Returns h (most + 1,): the most losses with T <= -size for each number of gains, made not to decrease."""
    count = np.arange(most + 1)
    low, high = np.full(len(count), -1), samples - count + 1
    while (high - low > 1).any():
        middle = np.where(high - low > 1, (low + high) // 2, np.maximum(low, 0))
        inside = score(middle, count, samples, epsilon) <= -size
        open_ = high - low > 1
        low, high = np.where(open_ & inside, middle, low), np.where(open_ & ~inside, middle, high)
    result: NDArray[np.int64] = np.minimum.accumulate(low[::-1])[::-1]
    return result


def score(losses: NDArray[np.number], gains: NDArray[np.number], samples: int, epsilon: float) -> NDArray[np.float64]:
    """Returns T (module docstring); g~ is the positive root of 2 n g^2 - s g - C epsilon (1 - epsilon) = 0."""
    slope = (losses + gains) * (1 - epsilon) - 2 * epsilon * (samples - losses)
    constant = gains * epsilon * (1 - epsilon)
    chance = (slope + np.sqrt(slope**2 + 8 * samples * constant)) / (4 * samples)
    variance = samples * (2 * np.clip(chance, 0, (1 - epsilon) / 2) + epsilon - epsilon**2)
    result: NDArray[np.float64] = (losses - gains - samples * epsilon) / np.sqrt(variance)
    return result
