"""What a comparison says: as a table, as Markdown, as JSON, and as a plot (PNG and SVG)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agfedge.pages.figures import write_figure
from agfedge.pages.tables import Result, Table, plain
from agfedge.pages.words import percentage
from agfedge.study.compare.points import HEAVY, STAGES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from agfedge.study.compare.points import Claim, ComparePoint, ScoreRow
    from agfedge.study.compare.request import CompareRequest


TITLES = {"one_shot": "one-shot", "reestimated": "batch norm re-estimated", "recovered": "recovered"}


def table_of(rows: Sequence[ScoreRow]) -> Table:
    """Returns the accuracies with their intervals, a row for each score and width."""
    headers = ("score", "kept width", "MMACs", "parameters", *(f"{TITLES[stage]}, %" for stage in STAGES))
    cells = [
        (
            row.score,
            f"{row.keep:g}",
            f"{row.macs / 1e6:,.2f}",
            f"{row.parameters:,.0f}",
            *("" if accuracy is None else percentage(accuracy) for accuracy in row.accuracies),
        )
        for row in rows
    ]
    return Table(headers, cells)


def sentence(claim: Claim) -> str:
    """Returns a claim in words."""
    return (
        f"{claim.better} is better than {claim.worse} at width {claim.keep:g}, {TITLES[claim.stage]}: by "
        f"{100 * claim.difference:.2f} points ({100 * claim.low:.2f} to {100 * claim.high:.2f})"
    )


def markdown_of(rows: Sequence[ScoreRow], claims: Sequence[Claim], plot: str | None = None) -> str:
    """Returns the report as Markdown."""
    table = table_of(rows)
    lines = [table.markdown("|---|" + "---:|" * (len(table.headers) - 1))]
    lines += ["", "Intervals are of 95% and hold what seeds and test images add. Differences that they bear:", ""]
    lines += [f"* {sentence(claim)}." for claim in claims] or ["* none."]
    if plot:
        lines += ["", f"![Accuracy against kept width]({plot})"]
    return "\n".join(lines) + "\n"


def json_of(points: Sequence[ComparePoint], rows: Sequence[ScoreRow], claims: Sequence[Claim]) -> str:
    """Returns raw points, means and claims as JSON; degrees of freedom without a bound are null."""
    document = {"points": list(points), "rows": list(rows), "claims": list(claims)}
    return json.dumps(plain(document), indent=1, allow_nan=False) + "\n"


def write_plots(rows: Sequence[ScoreRow], stem: Path) -> tuple[Path, ...]:
    """Draws one panel a stage, with 95% intervals; writes `stem`.png and `stem`.svg, each whole."""
    stages = [stage for stage in STAGES if any(getattr(row, stage) is not None and row.score != HEAVY for row in rows)]
    return write_figure(stem, (4.2 * max(1, len(stages)), 3.6), lambda figure: _panels(figure, rows, stages))


def _panels(figure: Figure, rows: Sequence[ScoreRow], stages: Sequence[str]) -> None:
    panels = figure.subplots(1, max(1, len(stages)), squeeze=False, sharey=True)[0]
    for panel, stage in zip(panels, stages, strict=False):
        _draw(panel, rows, stage)
    panels[0].set_ylabel("test accuracy, %")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", frameon=False)


def _draw(panel: Axes, rows: Sequence[ScoreRow], stage: str) -> None:
    heavy = next((row.one_shot for row in rows if row.score == HEAVY), None)
    scores = list(dict.fromkeys(row.score for row in rows if row.score != HEAVY))
    for number, score in enumerate(scores):
        points = [(row.keep, accuracy) for row in rows if row.score == score and (accuracy := getattr(row, stage))]
        if not points:
            panel.plot([], [], label=score, color=f"C{number}", marker="o")  # one legend serves all panels
            continue
        x = [keep * 1.015 ** (number - len(scores) / 2) for keep, _ in points]  # beside each other, to be seen
        y = [100 * accuracy.value for _, accuracy in points]
        spread = [
            [100 * (accuracy.value - accuracy.low) for _, accuracy in points],
            [100 * (accuracy.high - accuracy.value) for _, accuracy in points],
        ]
        panel.errorbar(
            x, y, yerr=spread, label=score, color=f"C{number}", marker="o", markersize=3, capsize=2, linewidth=1
        )
    if heavy is not None:
        panel.axhline(100 * heavy.value, color="0.4", linestyle="--", linewidth=1)
        panel.annotate("heavy", (0, 100 * heavy.value), xycoords=("axes fraction", "data"), va="bottom", color="0.4")
    keeps = sorted({row.keep for row in rows if row.score != HEAVY})
    panel.set_xscale("log", base=2)
    panel.set_xticks(keeps, [f"{keep:g}" for keep in keeps])
    panel.set_xlabel("kept width")
    panel.set_title(TITLES[stage])
    panel.grid(alpha=0.3)


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
    points: list[ComparePoint]
    rows: list[ScoreRow]
    claims: list[Claim]

    def to_dict(self) -> dict[str, Any]:
        """Returns what `agfedge compare --json` prints."""
        return {"out": self.request.out, "rows": plain(self.rows), "claims": plain(self.claims)}

    def blocks(self) -> Iterator[str | Table]:
        """Gives the accuracies, and where one score is better than another."""
        yield table_of(self.rows)
        yield ""
        yield from map(sentence, self.claims)
        if not self.claims:
            yield f"no interval separates {self.request.scores[0]} from another score"
        yield f"written: {self.request.out}/compare.md, .json, .svg, .png"
