"""Accuracy against expected cost, a point a candidate: PNG and SVG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from agfedge.pages.figures import write_figure
from agfedge.study.search.front import HEAVY_COST, front
from agfedge.study.search.measured import measured

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from agfedge.study.search.measured import Measured
    from agfedge.study.search.points import Estimate, Point

GREY = "0.6"
# Ten colours go round; the shape then tells two points of one colour apart.
_COLOURS, _SHAPES = 10, "osD^vP"


def write_plot(points: Sequence[Point], stem: Path) -> tuple[Path, ...]:
    """Draws every point that is done, with 95% intervals and the curve over its confidence thresholds.

    The front has colours and a legend, the other points are grey. Writes `stem`.png and `stem`.svg, each whole.
    """
    return write_figure(stem, (7.2, 4.8), lambda figure: _draw(figure, points))


def _draw(figure: Figure, points: Sequence[Point]) -> None:
    panel, found, ahead = figure.subplots(), measured(points), front(points)
    behind = [each for each in found if each.point not in ahead]
    for number, each in enumerate(behind):
        _point(panel, each, GREY, "o", None if number else "not on the front", front=False)
    for number, each in enumerate(each for each in found if each.point in ahead):
        shape = _SHAPES[number // _COLOURS % len(_SHAPES)]
        _point(panel, each, f"C{number % _COLOURS}", shape, each.point.name, front=True)
    if found:
        heavy = found[0].heavy
        panel.axhline(100 * heavy.value, color="0.4", linestyle="--", linewidth=0.8, zorder=1)
        panel.plot(
            [HEAVY_COST], [100 * heavy.value], "*", color="black", markersize=11, label="heavy expert alone", zorder=4
        )
        _frame(panel, found)
        figure.legend(loc="outside lower center", ncols=2, frameon=False)
    else:
        panel.annotate("nothing was measured", (0.5, 0.5), xycoords="axes fraction", ha="center", color="0.4")
    panel.set_xlabel("expected cost, relative to the heavy expert")
    panel.set_ylabel("accuracy, %")
    panel.grid(alpha=0.3)


def _point(panel: Axes, each: Measured, colour: str, shape: str, label: str | None, *, front: bool) -> None:
    if each.point.curve:
        costs, shares = zip(*each.point.curve, strict=True)
        panel.plot(
            costs, [100 * share for share in shares], color=colour, linewidth=0.8, alpha=0.7 if front else 0.4, zorder=2
        )
    panel.errorbar(
        [each.expected.value],
        [100 * each.accuracy.value],
        xerr=_reach(each.expected, 1),
        yerr=_reach(each.accuracy, 100),
        label=label,
        color=colour,
        marker=shape,
        markersize=6 if front else 3,
        linewidth=1.4 if front else 0.8,
        capsize=2,
        linestyle="none",
        zorder=3 if front else 2,
    )


def _reach(estimate: Estimate, scale: float) -> list[list[float]]:
    """Returns how far an interval reaches below and above its value; never less than nothing."""
    below, above = estimate.value - estimate.low, estimate.high - estimate.value
    return [[scale * max(0.0, below)], [scale * max(0.0, above)]]


def _frame(panel: Axes, found: Sequence[Measured]) -> None:
    """Shows all intervals; curves that fall to a light expert's own accuracy leave the picture below."""
    costs = [side for each in found for side in (each.expected.low, each.expected.high)]
    shares = [side for each in found for side in (each.accuracy.low, each.accuracy.high, each.heavy.value)]
    tall = max(100 * (max(shares) - min(shares)), 0.5)
    panel.set_xlim(max(0.0, min(costs) - 0.1), max(HEAVY_COST, *costs) + 0.05)
    panel.set_ylim(100 * min(shares) - 0.6 * tall, min(100 * max(shares) + 0.2 * tall, 100.5))
