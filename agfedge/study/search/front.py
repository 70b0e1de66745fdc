"""Which points are worth having: the front of cost and accuracy, and the best of all."""

from __future__ import annotations

from collections.abc import Iterable

from agfedge.study.search.measured import Measured, measured
from agfedge.study.search.points import Point
from agfedge_runtime.bundle.router import asks_light

# The heavy expert alone, to which all costs are relative.
HEAVY_COST = 1.0
# Accuracies are quotients: one that loses just epsilon may come out a rounding error below.
_ROUNDING = 1e-9


def front(points: Iterable[Point]) -> tuple[Point, ...]:
    """Returns the points that nothing else beats, neither another point nor the heavy expert alone; cheapest first.

    A point is beaten by what costs no more and is right no less often, one of them strictly; by the heavy expert also
    where both are equal. Estimates are compared, not their intervals.
    """
    found = measured(points)
    return tuple(each.point for each in found if not _heavy_beats(each) and not any(_beats(one, each) for one in found))


def best(points: Iterable[Point], epsilon: float) -> Point | None:
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
