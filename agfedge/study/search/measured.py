"""The points that were measured, with estimates that are there."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from agfedge.study.search.points import DONE, Estimate, Point


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

    point: Point
    expected: Estimate
    accuracy: Estimate
    light: Estimate
    heavy: Estimate

    @property
    def order(self) -> tuple[float, float, str]:
        """The cheapest first; at the same cost the most accurate, then by name."""
        return self.expected.value, -self.accuracy.value, self.point.name


def measured(points: Iterable[Point]) -> list[Measured]:
    """Returns the points that are done, cheapest first."""
    found = []
    for point in points:
        expected, accuracy, light, heavy = point.expected, point.accuracy, point.light_accuracy, point.heavy_accuracy
        if point.state == DONE and expected and accuracy and light and heavy:
            found.append(Measured(point, expected, accuracy, light, heavy))
    return sorted(found, key=lambda each: each.order)
