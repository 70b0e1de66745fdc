"""The comparison for people (Markdown) and for machines (JSON)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from agfedge.study.compare.plot import TITLES
from agfedge.study.compare.summary import STAGES

if TYPE_CHECKING:
    from agfedge.study.compare.points import Point
    from agfedge.study.compare.summary import Accuracy, Claim, Row


def table_of(rows: Sequence[Row]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Returns headers, and a row of text for each score and width."""
    headers = ("score", "kept width", "MMACs", "parameters", *(f"{TITLES[stage]}, %" for stage in STAGES))
    return headers, [
        (
            row.score,
            f"{row.keep:g}",
            f"{row.macs / 1e6:,.2f}",
            f"{row.parameters:,.0f}",
            *(percent(getattr(row, stage)) for stage in STAGES),
        )
        for row in rows
    ]


def percent(accuracy: Accuracy | None) -> str:
    """Returns an accuracy with its interval, in percent; empty for None."""
    if accuracy is None:
        return ""
    return f"{100 * accuracy.value:.2f} ({100 * accuracy.low:.2f} to {100 * accuracy.high:.2f})"


def sentence(claim: Claim) -> str:
    """Returns a claim in words."""
    return (
        f"{claim.better} is better than {claim.worse} at width {claim.keep:g}, {TITLES[claim.stage]}: by "
        f"{100 * claim.difference:.2f} points ({100 * claim.low:.2f} to {100 * claim.high:.2f})"
    )


def markdown_of(rows: Sequence[Row], claims: Sequence[Claim], plot: str | None = None) -> str:
    """Returns the report as Markdown."""
    headers, cells = table_of(rows)
    lines = [f"| {' | '.join(headers)} |", "|---|" + "---:|" * (len(headers) - 1)]
    lines += [f"| {' | '.join(row)} |" for row in cells]
    lines += ["", "Intervals are of 95% and hold what seeds and test images add. Differences that they bear:", ""]
    lines += [f"* {sentence(claim)}." for claim in claims] or ["* none."]
    if plot:
        lines += ["", f"![Accuracy against kept width]({plot})"]
    return "\n".join(lines) + "\n"


def json_of(points: Sequence[Point], rows: Sequence[Row], claims: Sequence[Claim]) -> str:
    """Returns raw points, means and claims as JSON; degrees of freedom without a bound are null."""
    document = {
        "points": [asdict(point) for point in points],
        "rows": [asdict(row) for row in rows],
        "claims": [asdict(claim) for claim in claims],
    }
    for row in document["rows"]:
        for stage in STAGES:
            if row[stage] is not None and row[stage]["freedom"] == float("inf"):
                row[stage]["freedom"] = None
    return json.dumps(document, indent=1, allow_nan=False) + "\n"
