"""A search for people (a table, Markdown) and for machines (JSON)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from agfedge.study.search.front import HEAVY_COST, best, front
from agfedge.study.search.measured import measured
from agfedge.study.search.points import DONE, STATES, Estimate, Point

if TYPE_CHECKING:
    from agfedge.study.search.measured import Measured

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


def table_of(points: Sequence[Point], *, reasons: bool = True) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Returns headers, and a row of text a point: the front (marked *), others by cost, and what was not measured.

    Args:
        points: all that were tried.
        reasons: whether the notes say why a point was not measured, in a sentence.
    """
    ahead = front(points)
    done = sorted(measured(points), key=lambda each: each.point not in ahead)
    others = [_short_row(point, _why(point) if reasons else point.state) for point in _unmeasured(points)]
    return HEADERS, [*(_row(each, each.point in ahead) for each in done), *others]


def reasons_of(points: Sequence[Point]) -> list[str]:
    """Returns a line for each point that was not measured, in the order of the table."""
    return [f"{point.name} {_why(point)}" for point in _unmeasured(points)]


def verdict_of(points: Sequence[Point], epsilon: float) -> str:
    """Returns in words which point is best, or what would help where none is."""
    found = best(points, epsilon)
    if found is not None:
        (each,) = measured([found])
        doubt = "; its interval reaches the heavy expert's cost" if each.expected.high >= HEAVY_COST else ""
        return (
            f"best: {found.name}, at {_cost(each.expected)} of the heavy expert's cost; it is right on "
            f"{_percent(each.accuracy)} % of the rows, the heavy expert on {_percent(each.heavy)} %{doubt}"
        )
    if not measured(points):
        return "no candidate was measured" + (": the notes in the table say why" if points else "")
    return (
        f"no cascade is cheaper than the heavy expert at this accuracy (--epsilon {epsilon:g}): recover longer "
        "(--epochs), allow a larger --epsilon, or try more widths (--keep)"
    )


def grounds_of(points: Iterable[Point]) -> str:
    """Returns in words what the estimates come from; empty where nothing was measured."""
    samples = sorted({each.point.samples for each in measured(points)})
    if not samples:
        return ""
    return (
        f"estimates: from {' or '.join(f'{each:,}' for each in samples)} rows of the calibration split, which choose "
        "among the points; the bundle of an accepted one is certified on the other rows"
    )


def markdown_of(
    points: Sequence[Point], epsilon: float, cost_note: str, warnings: Sequence[str] = (), plot: str | None = None
) -> str:
    """Returns the report as Markdown.

    Args:
        points: all that were tried.
        epsilon: accuracy that the cascade may lose.
        cost_note: what costs were measured by, in words.
        warnings: what a reader of the figures must know.
        plot: file name of the picture, or None.
    """
    headers, rows = table_of(points)
    lines = [_line(headers), "|---|---|---|" + "---:|" * (len(headers) - 4) + "---|"]
    lines += [_line(row) for row in rows]
    told = (verdict_of(points, epsilon), grounds_of(points), f"costs: {cost_note}")
    lines += ["", *(f"* {_sentence(text)}" for text in told if text)]
    lines += [f"* Warning: {text.rstrip('.')}." for text in warnings]
    lines += ["", f"{OPTIMISM} Points marked * are on the front: nothing costs less and is right more often."]
    if plot:
        lines += ["", f"![Accuracy against expected cost]({plot})"]
    return "\n".join(lines) + "\n"


def document_of(
    points: Sequence[Point], epsilon: float, cost_note: str, warnings: Sequence[str] = ()
) -> dict[str, object]:
    """Returns what `json_of` writes, as plain objects: points by name, and what they say."""
    found = best(points, epsilon)
    return {
        "points": [asdict(point) for point in sorted(points, key=lambda point: point.name)],
        "front": [point.name for point in front(points)],
        "best": None if found is None else found.name,
        "epsilon": epsilon,
        "costs": cost_note,
        "warnings": list(warnings),
    }


def json_of(points: Sequence[Point], epsilon: float, cost_note: str, warnings: Sequence[str] = ()) -> str:
    """Returns every point, the front and the best as JSON; the same points give the same text."""
    return json.dumps(document_of(points, epsilon, cost_note, warnings), indent=1, allow_nan=False) + "\n"


def _unmeasured(points: Iterable[Point]) -> list[Point]:
    """Returns what was rejected, by what it would cost at least, and then what failed, by name."""

    def order(point: Point) -> tuple[int, float, str]:
        return STATES.index(point.state), point.trunk_cost + point.light, point.name

    return sorted((point for point in points if point.state != DONE), key=order)


def _why(point: Point) -> str:
    return f"{point.state}: {point.reason}"


def _row(each: Measured, ahead: bool) -> tuple[str, ...]:
    point = each.point
    return (
        f"{point.name} *" if ahead else point.name,
        _light(point),
        point.trunk,
        _cost(each.expected),
        _percent(each.accuracy),
        f"{100 * each.light.value:.2f}",
        f"{100 * (point.early + point.late):.1f}",
        _millions(point),
        _note(each),
    )


def _short_row(point: Point, note: str) -> tuple[str, ...]:
    return (point.name, _light(point), point.trunk, "", "", "", "", _millions(point), note)


def _light(point: Point) -> str:
    return point.amount or "given"


def _note(each: Measured) -> str:
    point = each.point
    if point.threshold > 1:
        return "the heavy expert answers everything"
    if each.expected.value >= HEAVY_COST:
        return "no cheaper than the heavy expert"
    return f"prior {point.prior_kind}: {100 * point.early:.1f} % early" if point.prior_kind else ""


def _millions(point: Point) -> str:
    return f"{point.macs / 1e6:,.2f}" if point.macs else ""


def _cost(cost: Estimate) -> str:
    return f"{cost.value:.3f} ({cost.low:.3f} to {cost.high:.3f})"


def _percent(accuracy: Estimate) -> str:
    return f"{100 * accuracy.value:.2f} ({100 * accuracy.low:.2f} to {100 * accuracy.high:.2f})"


def _line(cells: Iterable[str]) -> str:
    """Returns a row of a table; a bar in a cell would end it."""
    return f"| {' | '.join(' '.join(cell.split()).replace('|', chr(92) + '|') for cell in cells)} |"


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."
