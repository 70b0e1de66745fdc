"""Accuracy against kept width, a line a score: PNG and SVG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from agfedge.pages.figures import write_figure
from agfedge.study.compare.points import HEAVY
from agfedge.study.compare.summary import STAGES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from agfedge.study.compare.summary import Row

TITLES = {"one_shot": "one-shot", "reestimated": "batch norm re-estimated", "recovered": "recovered"}


def write_plots(rows: Sequence[Row], stem: Path) -> tuple[Path, ...]:
    """Draws one panel a stage, with 95% intervals; writes `stem`.png and `stem`.svg, each whole."""
    stages = [stage for stage in STAGES if any(getattr(row, stage) is not None and row.score != HEAVY for row in rows)]
    return write_figure(stem, (4.2 * max(1, len(stages)), 3.6), lambda figure: _panels(figure, rows, stages))


def _panels(figure: Figure, rows: Sequence[Row], stages: Sequence[str]) -> None:
    panels = figure.subplots(1, max(1, len(stages)), squeeze=False, sharey=True)[0]
    for panel, stage in zip(panels, stages, strict=False):
        _draw(panel, rows, stage)
    panels[0].set_ylabel("test accuracy, %")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", frameon=False)


def _draw(panel: Axes, rows: Sequence[Row], stage: str) -> None:
    heavy = next((row.one_shot for row in rows if row.score == HEAVY), None)
    scores = list(dict.fromkeys(row.score for row in rows if row.score != HEAVY))
    for number, score in enumerate(scores):
        found = [(row.keep, accuracy) for row in rows if row.score == score and (accuracy := getattr(row, stage))]
        if not found:
            panel.plot([], [], label=score, color=f"C{number}", marker="o")  # one legend serves all panels
            continue
        x = [keep * 1.015 ** (number - len(scores) / 2) for keep, _ in found]  # beside each other, to be seen
        y = [100 * each.value for _, each in found]
        spread = [
            [100 * (each.value - each.low) for _, each in found],
            [100 * (each.high - each.value) for _, each in found],
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
