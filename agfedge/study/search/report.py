"""What a search says: as a table, as Markdown, as JSON, and as a plot (PNG and SVG)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agfedge.pages.figures import error_bar, write_figure
from agfedge.pages.tables import Result, Table, plain
from agfedge.pages.words import percentage, ratio
from agfedge.study.search.points import DONE, HEAVY_COST, STATES, SearchPoint, best, front, measured
from agfedge_runtime.bundle.router import asks_light

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from agfedge.bundles.export_result import ExportResult
    from agfedge.study.search.points import Measured, SearchPoint
    from agfedge.study.search.request import SearchRequest

HEADERS = (
    "point",
    "light",
    "trunk",
    "expected cost (95%)",
    "accuracy, % (95%)",
    "light alone, %",
    "escalated, %",
    "light MMACs",
    "note",
)
OPTIMISM = (
    "Points whose intervals overlap are not told apart, and the best of several looks a little better on the rows that "
    "chose it than it is."
)


def table_of(points: Sequence[SearchPoint], *, reasons: bool = True) -> Table:
    """Returns a row a point: the front (marked *), others by cost, and what was not measured.

    Args:
        points: all that were tried.
        reasons: whether the notes say why a point was not measured, in a sentence.
    """
    ahead = front(points)
    done = sorted(measured(points), key=lambda each: each.point not in ahead)
    others = [_short_row(point, _why(point) if reasons else point.state) for point in _unmeasured(points)]
    return Table(HEADERS, [*(_row(each, each.point in ahead) for each in done), *others], left=(1, 2, 8))


def reasons_of(points: Sequence[SearchPoint]) -> list[str]:
    """Returns a line for each point that was not measured, in the order of the table."""
    return [f"{point.name} {_why(point)}" for point in _unmeasured(points)]


def verdict_of(points: Sequence[SearchPoint], epsilon: float) -> str:
    """Returns in words which point is best, or what would help where none is."""
    winner = best(points, epsilon)
    if winner is not None:
        (each,) = measured([winner])
        doubt = "; its interval reaches the heavy expert's cost" if each.expected.high >= HEAVY_COST else ""
        return (
            f"best: {winner.name}, at {ratio(each.expected)} of the heavy expert's cost; it is right on "
            f"{percentage(each.accuracy)} % of the rows, the heavy expert on {percentage(each.heavy)} %{doubt}"
        )
    if not measured(points):
        return "no candidate was measured" + (": the notes in the table say why" if points else "")
    return (
        f"no cascade is cheaper than the heavy expert at this accuracy (--epsilon {epsilon:g}): recover longer "
        "(--epochs), allow a larger --epsilon, or try more widths (--keep)"
    )


def grounds_of(points: Iterable[SearchPoint]) -> str:
    """Returns in words what the estimates come from; empty where nothing was measured."""
    samples = sorted({each.point.samples for each in measured(points)})
    if not samples:
        return ""
    return (
        f"estimates: from {' or '.join(f'{each:,}' for each in samples)} rows of the calibration split, which choose "
        "among the points; the bundle of an accepted one is certified on the other rows"
    )


def markdown_of(
    points: Sequence[SearchPoint], epsilon: float, cost_note: str, warnings: Sequence[str] = (), plot: str | None = None
) -> str:
    """Returns the report as Markdown.

    Args:
        points: all that were tried.
        epsilon: accuracy that the cascade may lose.
        cost_note: what costs were measured by, in words.
        warnings: what a reader of the figures must know.
        plot: file name of the picture, or None.
    """
    lines = [table_of(points).markdown("|---|---|---|" + "---:|" * (len(HEADERS) - 4) + "---|")]
    remarks = (verdict_of(points, epsilon), grounds_of(points), f"costs: {cost_note}")
    lines += ["", *(f"* {_sentence(text)}" for text in remarks if text)]
    lines += [f"* Warning: {text.rstrip('.')}." for text in warnings]
    lines += ["", f"{OPTIMISM} Points marked * are on the front: nothing costs less and is right more often."]
    if plot:
        lines += ["", f"![Accuracy against expected cost]({plot})"]
    return "\n".join(lines) + "\n"


def document_of(
    points: Sequence[SearchPoint], epsilon: float, cost_note: str, warnings: Sequence[str] = ()
) -> dict[str, object]:
    """Returns what `json_of` writes, as plain objects: points by name, and what they say."""
    winner = best(points, epsilon)
    return {
        "points": [asdict(point) for point in sorted(points, key=lambda point: point.name)],
        "front": [point.name for point in front(points)],
        "best": None if winner is None else winner.name,
        "epsilon": epsilon,
        "costs": cost_note,
        "warnings": list(warnings),
    }


def json_of(points: Sequence[SearchPoint], epsilon: float, cost_note: str, warnings: Sequence[str] = ()) -> str:
    """Returns every point, the front and the best as JSON; the same points give the same text."""
    return json.dumps(document_of(points, epsilon, cost_note, warnings), indent=1, allow_nan=False) + "\n"


def _unmeasured(points: Iterable[SearchPoint]) -> list[SearchPoint]:
    """Returns what was rejected, by what it would cost at least, and then what failed, by name."""

    def order(point: SearchPoint) -> tuple[int, float, str]:
        return STATES.index(point.state), point.trunk_cost + point.light, point.name

    return sorted((point for point in points if point.state != DONE), key=order)


def _why(point: SearchPoint) -> str:
    return f"{point.state}: {point.reason}"


def _row(each: Measured, ahead: bool) -> tuple[str, ...]:
    point = each.point
    return (
        f"{point.name} *" if ahead else point.name,
        _light(point),
        point.trunk,
        ratio(each.expected),
        percentage(each.accuracy),
        f"{100 * each.light.value:.2f}",
        f"{100 * (point.early + point.late):.1f}",
        _millions(point),
        _note(each),
    )


def _short_row(point: SearchPoint, note: str) -> tuple[str, ...]:
    return (point.name, _light(point), point.trunk, "", "", "", "", _millions(point), note)


def _light(point: SearchPoint) -> str:
    return point.amount or "given"


def _note(each: Measured) -> str:
    point = each.point
    if not asks_light(point.threshold):
        return "the heavy expert answers everything"
    if each.expected.value >= HEAVY_COST:
        return "no cheaper than the heavy expert"
    return f"prior {point.prior_kind}: {100 * point.early:.1f} % early" if point.prior_kind else ""


def _millions(point: SearchPoint) -> str:
    return f"{point.macs / 1e6:,.2f}" if point.macs else ""


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."


GREY = "0.6"
# Ten colours go round; the shape then tells two points of one colour apart.
_COLOURS, _SHAPES = 10, "osD^vP"


def write_plot(points: Sequence[SearchPoint], stem: Path) -> tuple[Path, ...]:
    """Draws every point that is done, with 95% intervals and the curve over its confidence thresholds.

    The front has colours and a legend, the other points are grey. Writes `stem`.png and `stem`.svg, each whole.
    """
    return write_figure(stem, (7.2, 4.8), lambda figure: _draw(figure, points))


def _draw(figure: Figure, points: Sequence[SearchPoint]) -> None:
    panel, shown, ahead = figure.subplots(), measured(points), front(points)
    behind = [one for one in shown if one.point not in ahead]
    for number, one in enumerate(behind):
        _point(panel, one, GREY, "o", None if number else "not on the front", front=False)
    for number, one in enumerate(one for one in shown if one.point in ahead):
        shape = _SHAPES[number // _COLOURS % len(_SHAPES)]
        _point(panel, one, f"C{number % _COLOURS}", shape, one.point.name, front=True)
    if shown:
        heavy = shown[0].heavy
        panel.axhline(100 * heavy.value, color="0.4", linestyle="--", linewidth=0.8, zorder=1)
        panel.plot(
            [HEAVY_COST], [100 * heavy.value], "*", color="black", markersize=11, label="heavy expert alone", zorder=4
        )
        _frame(panel, shown)
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
        xerr=error_bar(each.expected),
        yerr=error_bar(each.accuracy, 100),
        label=label,
        color=colour,
        marker=shape,
        markersize=6 if front else 3,
        linewidth=1.4 if front else 0.8,
        capsize=2,
        linestyle="none",
        zorder=3 if front else 2,
    )


def _frame(panel: Axes, shown: Sequence[Measured]) -> None:
    """Shows all intervals; curves that fall to a light expert's own accuracy leave the picture below."""
    costs = [side for one in shown for side in (one.expected.low, one.expected.high)]
    shares = [side for one in shown for side in (one.accuracy.low, one.accuracy.high, one.heavy.value)]
    tall = max(100 * (max(shares) - min(shares)), 0.5)
    panel.set_xlim(max(0.0, min(costs) - 0.1), max(HEAVY_COST, *costs) + 0.05)
    panel.set_ylim(100 * min(shares) - 0.6 * tall, min(100 * max(shares) + 0.2 * tall, 100.5))


@dataclass(frozen=True, eq=False, repr=False)
class SearchResult(Result):
    """What a search knows by now.

    Attributes:
        request: what was asked for.
        points: one a candidate that was looked at, in the order of their names.
        cost_note: what costs were measured by, in words.
        warnings: what a reader must know, a sentence each.
        accepted: the bundle of the accepted point, or None.
    """

    request: SearchRequest
    points: tuple[SearchPoint, ...]
    cost_note: str
    warnings: tuple[str, ...] = ()
    accepted: ExportResult | None = None

    def to_dict(self) -> dict[str, Any]:
        """Returns what `agfedge search --json` prints."""
        known = document_of(self.points, self.request.bound.epsilon, self.cost_note, self.warnings)
        made = None if self.accepted is None else self.accepted.to_dict()
        return {"out": self.request.out, **plain(known), "accepted": made}

    def blocks(self) -> Iterator[str | Table]:
        """Gives the front and the other points, the verdict, and the bundle of the accepted point."""
        points, epsilon, out = self.points, self.request.bound.epsilon, self.request.out
        yield table_of(points, reasons=False)
        yield ""
        yield from filter(None, [*reasons_of(points), verdict_of(points, epsilon), grounds_of(points)])
        yield f"costs: {self.cost_note}"
        yield f"written: {out}/search.md, .json, .svg, .png"
        if self.accepted is not None:
            yield ""
            yield from self.accepted.blocks()
        elif best(points, epsilon) is not None:
            yield "the same command with --accept best (or another point) and --bundle FOLDER makes its bundle"
