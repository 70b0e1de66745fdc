"""What a comparison found: as data, and as the table that `agfedge compare` prints."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agfedge.pages.tables import Result, Table, plain
from agfedge.study.compare.report import sentence, table_of

if TYPE_CHECKING:
    from agfedge.study.compare.points import Point
    from agfedge.study.compare.request import CompareRequest
    from agfedge.study.compare.summary import Claim, Row


@dataclass(frozen=True, eq=False, repr=False)
class CompareResult(Result):
    """Scores, compared.

    Attributes:
        request: what was asked for.
        points: every point that was measured.
        rows: of each score and width, its accuracies with intervals.
        claims: the differences that the intervals bear.
    """

    request: CompareRequest
    points: list[Point]
    rows: list[Row]
    claims: list[Claim]

    def to_dict(self) -> dict[str, Any]:
        """Returns what `agfedge compare --json` prints."""
        return {"out": self.request.out, "rows": plain(self.rows), "claims": plain(self.claims)}

    def blocks(self) -> Iterator[str | Table]:
        """Gives the accuracies, and where one score is better than another."""
        yield Table(*table_of(self.rows))
        yield ""
        yield from map(sentence, self.claims)
        if not self.claims:
            yield f"no interval separates {self.request.scores[0]} from another score"
        yield f"written: {self.request.out}/compare.md, .json, .svg, .png"
