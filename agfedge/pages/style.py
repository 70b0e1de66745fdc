"""What the plots share: profiles differ by colour, by line and by marker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from agfedge.pages.figures import SERIES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 4.3
# Inches that a line of a legend takes; letters that a column of two, and that a whole line has room for.
_LEGEND_LINE = 0.19
_WIDEST_OF_TWO = 26
_LONGEST = 36
_LINES = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (6, 2, 1, 2)))
_MARKERS = "osD^vP"


@dataclass(frozen=True)
class Style:
    """How a profile is drawn."""

    colour: str
    line: str | tuple[int, tuple[float, ...]]
    marker: str


def style_of(number: int) -> Style:
    """Returns the style of a report's profile, counted from 0."""
    return Style(SERIES[number % len(SERIES)], _LINES[number % len(_LINES)], _MARKERS[number % len(_MARKERS)])


def legend_below(figure: Figure, panel: Axes) -> None:
    """Puts a legend below a figure, in which nothing lies on a curve."""
    handles, labels = panel.get_legend_handles_labels()
    if handles:
        figure.legend(
            handles, labels, loc="outside lower left", ncols=_columns(labels), borderaxespad=0.2, columnspacing=1.2
        )


def legend_height(labels: Sequence[str]) -> float:
    """Returns the inches that a legend takes."""
    return _LEGEND_LINE * -(-len(labels) // _columns(labels))


def short(name: str) -> str:
    """Returns a profile's name as a legend has room for: a long one without its middle."""
    half = _LONGEST // 2
    return name if len(name) <= _LONGEST else f"{name[: half - 1]}…{name[-half:]}"


def _columns(labels: Sequence[str]) -> int:
    return 1 if any(len(label) > _WIDEST_OF_TWO for label in labels) else 2
