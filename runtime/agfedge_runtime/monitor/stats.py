"""What a monitor has seen so far."""

from __future__ import annotations

from dataclasses import dataclass
from math import nan, sqrt

# Two-sided 95% of the normal distribution.
_Z = 1.959963984540054


@dataclass(frozen=True)
class Stats:
    """Counts since the monitor began, and what its test makes of them.

    Attributes:
        decisions: how many there were.
        light: answered by the light expert.
        early: escalated before the light expert ran.
        late: escalated after it ran.
        confidence: how often the light expert's confidence fell into each of 20 equal bins of [0, 1], where it ran.
        confidence_sum: of those confidences.
        calibration_rate: the escalation rate on the calibration split, 0 to 1.
        drift: whether the test has found a drift; it stays so until the monitor is reset.
        evidence: the test's e-value, 1 at first; drift is found when it reaches `alarm_at`.
        alarm_at: 2 / alpha.
        found_at: how many decisions there were then; None without drift.
        since: about how many decisions there were when it began; None without drift.
        reason: one line of what moved, from what to what; empty without drift.
    """

    decisions: int
    light: int
    early: int
    late: int
    confidence: tuple[int, ...]
    confidence_sum: float
    calibration_rate: float
    drift: bool
    evidence: float
    alarm_at: float
    found_at: int | None = None
    since: int | None = None
    reason: str = ""

    @property
    def escalation_rate(self) -> float:
        """The share of decisions that the heavy expert made; NaN before the first."""
        return (self.early + self.late) / self.decisions if self.decisions else nan

    @property
    def escalation_interval(self) -> tuple[float, float]:
        """Wilson's 95% interval of the escalation rate at this moment; it is no test of drift."""
        return wilson(self.early + self.late, self.decisions)


def wilson(hits: int, trials: int) -> tuple[float, float]:
    """Wilson's 95% interval of a rate (Journal of the American Statistical Association 22, 1927, p. 209)."""
    if trials == 0:
        return 0.0, 1.0
    rate, square = hits / trials, _Z**2 / trials
    middle = (rate + square / 2) / (1 + square)
    half = _Z * sqrt(rate * (1 - rate) / trials + square / (4 * trials)) / (1 + square)
    return max(0.0, middle - half), min(1.0, middle + half)
