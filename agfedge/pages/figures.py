"""Figures as files and inside pages, and what they share: the same drawing gives the same bytes."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agfedge_runtime.atomic import write_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from agfedge.base.statistics import Estimate

# What matplotlib would write of its own: a date, and its version.
_METADATA: dict[str, dict[str, str | None]] = {".png": {"Software": None}, ".svg": {"Date": None}}
_NO_METADATA: dict[str, str | None] = dict.fromkeys(("Creator", "Date", "Format", "Type"))

# Colours of a figure inside a page: what to draw with, and the page's variable that it becomes, which differs on a
# dark screen and on paper.
INK, FAINT, GRID = "#010101", "#020202", "#030303"
LIGHT, HEAVY, EARLY, LATE, CASCADE = "#040404", "#050505", "#060606", "#070707", "#080808"
SERIES = (CASCADE, HEAVY, LIGHT, EARLY, LATE)
_VARIABLES = {
    INK: "--ink", FAINT: "--faint", GRID: "--grid",
    LIGHT: "--light", HEAVY: "--heavy", EARLY: "--early", LATE: "--late", CASCADE: "--cascade",
}  # fmt: skip
_INLINE: dict[Any, object] = {
    "svg.hashsalt": "agfedge",
    # Text stays text: small, found by a search, and in the page's font.
    "svg.fonttype": "none",
    # Names come from users: a dollar sign is no formula.
    "text.parse_math": False,
    "font.size": 9,
    "axes.labelsize": 9,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.formatter.useoffset": False,
    "axes.facecolor": "none",
    "hatch.linewidth": 0.8,
    "legend.frameon": False,
    "legend.fontsize": 9,
}


def write_figure(stem: Path, size: tuple[float, float], draw: Callable[[Figure], None]) -> tuple[Path, ...]:
    """Draws a figure; writes `stem`.png and `stem`.svg, each whole.

    Args:
        stem: of the files; what follows a dot in it stays.
        size: width and height, inches.
        draw: fills the empty figure.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # Without a salt the names of an SVG's elements differ each time.
    with mpl.rc_context({"svg.hashsalt": "agfedge", "font.size": 9}):
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        draw(figure)
        return tuple(_written(figure, stem, suffix) for suffix in _METADATA)


def _written(figure: Figure, stem: Path, suffix: str) -> Path:
    made = io.BytesIO()
    figure.savefig(made, format=suffix[1:], dpi=150, metadata=_METADATA[suffix])
    path = stem.with_name(stem.name + suffix)
    write_bytes(path, made.getvalue())
    return path


def inline_svg(name: str, size: tuple[float, float], draw: Callable[[Figure], None]) -> str:
    """Draws a figure as an SVG element for a page: as wide as what it stands in, in the page's colours.

    Args:
        name: goes before each of its identifiers; distinct among the figures of a page.
        size: width and height, inches; text is 9 points high, as wide as the figure is shown in proportion.
        draw: fills the empty figure, with the colours of this module.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with mpl.rc_context(_INLINE):
        figure = Figure(figsize=size, layout="constrained", facecolor="none")
        FigureCanvasSVG(figure)
        draw(figure)
        made = io.StringIO()
        figure.savefig(made, format="svg", transparent=True, metadata=_NO_METADATA)
    return _element(name, made.getvalue())


def _element(name: str, document: str) -> str:
    svg = document[document.index("<svg") :].rstrip()
    # A style inside would hold for the whole page.
    svg = re.sub(r"<style.*?</style>", "", svg, flags=re.DOTALL)
    head, body = svg.split(">", 1)
    head = re.sub(r' (?:width|height|version|xmlns(?::\w+)?)="[^"]*"', "", head)
    body = re.sub(r'\bid="', f'id="{name}-', body)
    body = re.sub(r'(?:xlink:)?href="#', f'href="#{name}-', body)
    body = body.replace("url(#", f"url(#{name}-")
    for colour, variable in _VARIABLES.items():
        body = body.replace(colour, f"var({variable})")
    return f"{head}>{body}"


WIDTH = 4.3
# Inches that a line of a legend takes; letters that a column of two, and that a whole line has room for.
_LEGEND_LINE = 0.19
_WIDEST_OF_TWO = 26
_LONGEST = 36
_LINES = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (6, 2, 1, 2)))
_MARKERS = "osD^vP"


@dataclass(frozen=True)
class Style:
    """How one of several is drawn."""

    colour: str
    line: str | tuple[int, tuple[float, ...]]
    marker: str


def style_of(number: int) -> Style:
    """Returns the style of one of several, counted from 0."""
    return Style(SERIES[number % len(SERIES)], _LINES[number % len(_LINES)], _MARKERS[number % len(_MARKERS)])


def error_bar(estimate: Estimate, scale: float = 1) -> list[list[float]] | None:
    """Returns how far an interval reaches below and above its value, times `scale`; None where there is none."""
    low, high = estimate.interval
    if low is None or high is None:
        return None
    return [[scale * max(0.0, estimate.value - low)], [scale * max(0.0, high - estimate.value)]]


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


def legend_of(names: Sequence[str]) -> float:
    """Returns the inches that a legend of names takes, cut short; one name needs none."""
    return legend_height([short(name) for name in names]) if len(names) > 1 else 0.0


def short(name: str) -> str:
    """Returns a name as a legend has room for: a long one without its middle."""
    half = _LONGEST // 2
    return name if len(name) <= _LONGEST else f"{name[: half - 1]}…{name[-half:]}"


def _columns(labels: Sequence[str]) -> int:
    return 1 if any(len(label) > _WIDEST_OF_TWO for label in labels) else 2
