"""What a search found: as data, and as the tables that `agfedge search` prints."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agfedge.pages.tables import Result, Table, plain
from agfedge.study.search.front import best
from agfedge.study.search.report import document_of, grounds_of, reasons_of, table_of, verdict_of

if TYPE_CHECKING:
    from agfedge.bundles.export_result import ExportResult
    from agfedge.study.search.points import Point
    from agfedge.study.search.request import SearchRequest


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
    points: tuple[Point, ...]
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
        yield Table(*table_of(points, reasons=False))
        yield ""
        yield from filter(None, [*reasons_of(points), verdict_of(points, epsilon), grounds_of(points)])
        yield f"costs: {self.cost_note}"
        yield f"written: {out}/search.md, .json, .svg, .png"
        if self.accepted is not None:
            yield ""
            yield from self.accepted.blocks()
        elif best(points, epsilon) is not None:
            yield "the same command with --accept best (or another point) and --bundle FOLDER makes its bundle"
