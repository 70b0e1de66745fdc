"""What became of candidates: costs and accuracy of each cascade, and which are worth having."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from agfedge.base.statistics import Estimate
from agfedge_runtime.bundle.router import asks_light

DONE, REJECTED, FAILED = "done", "rejected", "failed"
STATES = (DONE, REJECTED, FAILED)


@dataclass(frozen=True)
class SearchPoint:
    """One candidate.

    Costs are relative to the whole heavy expert. Shares and accuracies are of the rows that choose among candidates,
    which no guarantee rests on.

    Attributes:
        name: of letters, digits, ".", "-" and "_".
        amount: how much stays, as options; "" for a light expert of another origin.
        trunk: stage at whose end the experts part, "none" without.
        state: "done", "rejected" (before training) or "failed".
        reason: of a rejection or a failure, a sentence.
        macs: of the whole light expert; 0 where it was not made.
        parameters: likewise.
        light: cost of its pass; with a trunk, of its tail.
        trunk_cost: of what both share; 0 without.
        heavy: cost of the heavy pass; with a trunk, of its tail.
        prior_kind: the prior that escalates early, "" without.
        prior_cost: of it.
        threshold: of the confidence; above 1 the heavy expert answers everything.
        samples: rows behind the estimates; 0 unless done.
        early: share that the prior escalates.
        late: share that the confidence escalates.
        expected: expected cost.
        accuracy: of the cascade.
        light_accuracy: of the light expert alone.
        heavy_accuracy: of the heavy expert alone.
        curve: expected cost and accuracy over confidence thresholds, strictest first.
        epochs: the best one of recovery.
        training: what was trained, as of `RecoveryReport.kind`; "" where nothing was.
        training_reason: why it was not the slimmed module.
        seconds: that scoring, recovery and measuring took.
    """

    name: str
    amount: str
    trunk: str
    state: str
    reason: str = ""
    macs: int = 0
    parameters: int = 0
    light: float = 0.0
    trunk_cost: float = 0.0
    heavy: float = 1.0
    prior_kind: str = ""
    prior_cost: float = 0.0
    threshold: float = 2.0
    samples: int = 0
    early: float = 0.0
    late: float = 1.0
    expected: Estimate | None = None
    accuracy: Estimate | None = None
    light_accuracy: Estimate | None = None
    heavy_accuracy: Estimate | None = None
    curve: tuple[tuple[float, float], ...] = ()
    epochs: int = 0
    training: str = ""
    training_reason: str = ""
    seconds: float = 0.0

    @property
    def key(self) -> str:
        """Names the point's file."""
        return self.name


_ESTIMATES = ("expected", "accuracy", "light_accuracy", "heavy_accuracy")


def point_of(document: Mapping[str, Any]) -> SearchPoint:
    """Reads a point as JSON holds it.

    Raises:
        ValueError: a field is missing, unknown or out of range.
        TypeError: likewise.
    """
    known = {each.name for each in fields(SearchPoint)}
    if unknown := sorted(set(document) - known):
        raise ValueError(f"unknown field {unknown[0]}")
    given = dict(document)
    for name in _ESTIMATES:
        if given.get(name) is not None:
            given[name] = Estimate(**{side: float(value) for side, value in given[name].items()})
    given["curve"] = tuple((float(cost), float(share)) for cost, share in given.get("curve", ()))
    point = SearchPoint(**given)
    if point.state not in STATES:
        raise ValueError(f"state {point.state!r}")
    if point.state == DONE and any(getattr(point, name) is None for name in _ESTIMATES):
        raise ValueError("a point that is done lacks an estimate")
    shares = [point.early, point.late, *(each.value for name in _ESTIMATES[1:] if (each := getattr(point, name)))]
    if not all(math.isfinite(share) and 0 <= share <= 1 for share in shares):
        raise ValueError("a share outside [0, 1]")
    return point


@dataclass(frozen=True)
class Measured:
    """A point that is done.

    Attributes:
        point: all of it.
        expected: expected cost, relative to the heavy expert.
        accuracy: of the cascade.
        light: accuracy of the light expert alone.
        heavy: accuracy of the heavy expert alone.
    """

    point: SearchPoint
    expected: Estimate
    accuracy: Estimate
    light: Estimate
    heavy: Estimate

    @property
    def order(self) -> tuple[float, float, str]:
        """The cheapest first; at the same cost the most accurate, then by name."""
        return self.expected.value, -self.accuracy.value, self.point.name


def measured(points: Iterable[SearchPoint]) -> list[Measured]:
    """Returns the points that are done, cheapest first."""
    done = []
    for point in points:
        expected, accuracy, light, heavy = point.expected, point.accuracy, point.light_accuracy, point.heavy_accuracy
        if point.state == DONE and expected and accuracy and light and heavy:
            done.append(Measured(point, expected, accuracy, light, heavy))
    return sorted(done, key=lambda one: one.order)


# The heavy expert alone, to which all costs are relative.
HEAVY_COST = 1.0
# Accuracies are quotients: one that loses just epsilon may come out a rounding error below.
_ROUNDING = 1e-9


def front(points: Iterable[SearchPoint]) -> tuple[SearchPoint, ...]:
    """Returns the points that nothing else beats, neither another point nor the heavy expert alone; cheapest first.

    A point is beaten by what costs no more and is right no less often, one of them strictly; by the heavy expert also
    where both are equal. Estimates are compared, not their intervals.
    """
    done = measured(points)
    return tuple(each.point for each in done if not _heavy_beats(each) and not any(_beats(one, each) for one in done))


def best(points: Iterable[SearchPoint], epsilon: float) -> SearchPoint | None:
    """Returns the point of the least expected cost that is cheaper than the heavy expert; None without one.

    Args:
        points: all that were tried.
        epsilon: accuracy that the cascade may lose to the heavy expert, on the rows that the estimates come from.
    """
    return next((each.point for each in measured(points) if _saves(each) and _keeps_up(each, epsilon)), None)


def _beats(one: Measured, other: Measured) -> bool:
    mine, theirs = (one.expected.value, -one.accuracy.value), (other.expected.value, -other.accuracy.value)
    return mine != theirs and mine[0] <= theirs[0] and mine[1] <= theirs[1]


def _heavy_beats(each: Measured) -> bool:
    return each.expected.value >= HEAVY_COST and each.accuracy.value <= each.heavy.value


def _saves(each: Measured) -> bool:
    """Whether the light expert answers anything, and the cascade is cheaper for it."""
    return asks_light(each.point.threshold) and each.expected.value < HEAVY_COST


def _keeps_up(each: Measured, epsilon: float) -> bool:
    return each.accuracy.value >= each.heavy.value - epsilon - _ROUNDING
