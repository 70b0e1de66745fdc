"""A sequential test of drift whose false-alarm rate holds however long it runs.

Watched are yes-or-no questions: did the prior escalate, did the light expert hand over, was its confidence below 0.05,
0.10, ... 0.95. Calibration answered each n times, a stream goes on to answer it. Three steps:

1. **What calibration knows.** A rate at a threshold, whichever threshold was chosen after seeing the same n samples, is
   a value of an empirical distribution function. With probability 1 - delta it is within a band around the true one, at
   every threshold at once: Dvoretzky, Kiefer and Wolfowitz with Massart's constant (Annals of Probability 18, 1990,
   p. 1269) and, better near 0 and 1, Chernoff's bound for each of the n order statistics; half of delta each.
2. **What a stream says.** The likelihood of its answers, mixed over all rates by Jeffreys' prior (Krichevsky and
   Trofimov), divided by their likelihood under the true rate is a martingale that starts at 1. Divided by the largest
   likelihood under any rate in the band it is never more than that martingale: an e-process with a closed form
   (universal inference, arXiv:1912.11436).
3. **When a drift begins is unknown.** E-processes begin anew in blocks of several lengths; the j-th block of a length
   gets the share 1 / (j (j + 1)) of its length's capital. A weighted sum of martingales is one: by Ville's inequality
   it ever reaches 1 / alpha with probability alpha at most.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from agfedge_runtime.arrays import Float64Array, Int64Array

# Decisions in a block; the last, of length 0 here, never ends. Powers of 4: a drift waits at most a few times as long
# for a fitting block as it takes to be seen inside it.
_LENGTHS = np.array([1024, 4096, 16384, 65536, 262144, 0])
# RateEvidence beyond e^500 says nothing more, and its sum with others stays finite.
_LARGEST_LOG = 500.0
_HALF_LOG_TWO_PI = 0.5 * np.log(2 * np.pi)


@dataclass(frozen=True)
class Finding:
    """What moved most.

    Attributes:
        question: its index.
        since: how many decisions there had been when the block began in which it shows.
        rate: of yes in that block.
    """

    question: int
    since: int
    rate: float


class RateEvidence:
    """Capital won by betting against "nothing has changed"; constant in size.

    Args:
        lower: float64 (Q,), of each question's rate under the null.
        upper: likewise.
        weights: float64 (Q,), the share of the capital that each question begins with; sums to 1.
    """

    def __init__(self, lower: Float64Array, upper: Float64Array, weights: Float64Array) -> None:
        shape = (len(_LENGTHS), len(weights))
        self._lower, self._upper = lower, upper
        self._weights = np.broadcast_to(weights / len(_LENGTHS), shape)
        self._hits = np.zeros(shape)
        self._trials = np.zeros(shape)
        self._banked = np.zeros(shape)
        self._capital = np.zeros(shape)
        self._block = np.ones((len(_LENGTHS), 1))
        self._begun = np.zeros(len(_LENGTHS), np.int64)
        self._decisions = 0
        self._stake()

    def add(self, hits: Int64Array, trials: Int64Array, decisions: int) -> float:
        """Bet on the next `decisions`.

        Args:
            hits: (Q,), how often each question was answered yes.
            trials: (Q,), how often it was asked.
            decisions: how many there were; every block's length must be a multiple of what is given each time.

        Returns:
            The capital, 1 at first: an e-value.
        """
        self._end_blocks()
        self._hits += hits
        self._trials += trials
        self._decisions += decisions
        won = _e_values(self._hits, self._trials, self._lower, self._upper)
        self._capital = self._stakes * won
        return self._held + float(self._capital.sum())

    def finding(self) -> Finding:
        """The question and block that won most, as of the last `add`."""
        scale, question = np.unravel_index(self._capital.argmax(), self._capital.shape)
        rate = self._hits[scale, question] / max(self._trials[scale, question], 1.0)
        return Finding(int(question), int(self._begun[scale]), float(rate))

    def _end_blocks(self) -> None:
        if self._decisions == 0 or self._decisions % _LENGTHS[0]:
            return
        ended = (_LENGTHS > 0) & (self._decisions % np.maximum(_LENGTHS, 1) == 0)
        self._banked[ended] += self._capital[ended]
        self._hits[ended] = 0
        self._trials[ended] = 0
        self._block[ended] += 1
        self._begun[ended] = self._decisions
        self._stake()

    def _stake(self) -> None:
        """What each running block began with, and what is not at stake: won before, and kept for later blocks."""
        ends = (_LENGTHS > 0)[:, np.newaxis]
        self._stakes = self._weights * np.where(ends, 1 / (self._block * (self._block + 1)), 1.0)
        kept = self._weights * np.where(ends, 1 / (self._block + 1), 0.0)
        self._held = float((self._banked + kept).sum())


def rate_band(hits: Float64Array, samples: int, delta: float) -> tuple[Float64Array, Float64Array]:
    """Where the true rates are, with probability 1 - delta for all thresholds on one score together.

    Args:
        hits: float64 (Q,), how many of the samples were beyond each threshold.
        samples: n; with 0 nothing is known.
        delta: the probability to miss one of them, over the draw of the samples.

    Returns:
        Lower and upper bound, float64 (Q,) each.
    """
    if samples < 1:
        return np.zeros_like(hits), np.ones_like(hits)
    rates = hits / samples
    width = np.sqrt(np.log(4 / delta) / (2 * samples))
    limit = np.log(4 * samples / delta) / samples
    lower = np.maximum(rates - width, 1 - _chernoff(1 - rates, limit))
    upper = np.minimum(rates + width, _chernoff(rates, limit))
    return np.clip(lower, 0, 1), np.clip(upper, 0, 1)


def _chernoff(rates: Float64Array, limit: float) -> Float64Array:
    """The largest p >= rate with the Kullback-Leibler divergence of `rate` from p at most `limit`, by bisection."""
    low, high = rates.copy(), np.ones_like(rates)
    for _ in range(50):
        middle = (low + high) / 2
        near = _divergence(rates, middle) <= limit
        low, high = np.where(near, middle, low), np.where(near, high, middle)
    return high


def _divergence(a: Float64Array, b: Float64Array) -> Float64Array:
    """Kullback-Leibler divergence of Bernoulli(a) from Bernoulli(b), nats."""
    tiny = np.finfo(np.float64).tiny
    yes = a * np.log(np.maximum(a, tiny) / np.maximum(b, tiny))
    no = (1 - a) * np.log(np.maximum(1 - a, tiny) / np.maximum(1 - b, tiny))
    return np.asarray(yes + no)


def _e_values(hits: Float64Array, trials: Float64Array, lower: Float64Array, upper: Float64Array) -> Float64Array:
    """The mixture's likelihood over the largest of a rate within [lower, upper]."""
    misses = trials - hits
    rate = np.clip(hits / np.maximum(trials, 1), lower, upper)
    tiny = np.finfo(np.float64).tiny
    null = hits * np.log(np.maximum(rate, tiny)) + misses * np.log(np.maximum(1 - rate, tiny))
    yes, no, both = _log_gamma(np.stack([hits + 0.5, misses + 0.5, trials + 1]))
    mixture = yes + no - both - np.log(np.pi)
    return np.asarray(np.exp(np.minimum(mixture - null, _LARGEST_LOG)))


def _log_gamma(x: Float64Array) -> Float64Array:
    """Log of Gamma(x) for x >= 0.5 by Stirling's series six steps further up; NumPy has none. Error below 1e-8."""
    y = x + 6
    series = 1 / (12 * y) - 1 / (360 * y**3) + 1 / (1260 * y**5)
    steps = x * (x + 1) * (x + 2) * (x + 3) * (x + 4) * (x + 5)
    return np.asarray((y - 0.5) * np.log(y) - y + _HALF_LOG_TWO_PI + series - np.log(steps))
