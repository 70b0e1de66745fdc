"""Points of a search, as tests need them."""

from __future__ import annotations

from dataclasses import replace

from agfedge.base.statistics import Estimate
from agfedge.study.search.points import DONE, FAILED, REJECTED, SearchPoint

HEAVY = Estimate(0.94, 0.92, 0.955)


def estimate(value: float, half: float = 0.01) -> Estimate:
    return Estimate(value, value - half, value + half)


def done(name: str, cost: float, accuracy: float, **changes: object) -> SearchPoint:
    """A point that was measured; its confidence is certified at 0.9 unless told otherwise."""
    point = SearchPoint(
        name=name,
        amount="--keep 0.25",
        trunk="none",
        state=DONE,
        macs=1_500_000,
        parameters=20_000,
        light=0.1,
        threshold=0.9,
        samples=400,
        early=0.05,
        late=0.2,
        expected=estimate(cost),
        accuracy=estimate(accuracy),
        light_accuracy=estimate(0.8),
        heavy_accuracy=HEAVY,
        curve=((1.1, 0.94), (cost, accuracy), (0.1, 0.8)),
    )
    return replace(point, **changes)


def rejected(name: str, light: float = 0.9) -> SearchPoint:
    return SearchPoint(
        name, "--keep 0.9", "layer1", REJECTED, "a light pass alone costs more than the best", light=light
    )


def failed(name: str, reason: str = "training gave NaN") -> SearchPoint:
    return SearchPoint(name, "--keep 0.1", "none", FAILED, reason)
