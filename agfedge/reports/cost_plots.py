"""Cost against accuracy: both experts alone, the cascade as measured, the estimates, and what else could be had."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from agfedge.account.costs import passes_of
from agfedge.base.statistics import Estimate, exact
from agfedge.pages.figures import (
    CASCADE,
    FAINT,
    HEAVY,
    INK,
    LIGHT,
    WIDTH,
    error_bar,
    inline_svg,
    legend_below,
    legend_height,
    short,
    style_of,
)
from agfedge.pages.html import figure
from agfedge_profiles import Rates, expected
from agfedge_runtime.bundle.router import Branch, answers

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from agfedge.account.costs import FourCosts
    from agfedge.reports.runs import MeasuredRun

# Thresholds that the curve is drawn for.
_STEPS = 60
_CURVE = "cascade, other thresholds"
_UNITS = {"macs": "MACs"}


@dataclass(frozen=True)
class Mark:
    """One mark of the plot: what a decision costs, and the share that is right."""

    name: str
    cost: Estimate
    right: Estimate
    colour: str
    marker: str
    hollow: bool = False


def pareto(runs: Sequence[MeasuredRun]) -> str:
    """Returns the figure; one run's costs are relative to its heavy expert, several ones' are microseconds."""
    alone = len(runs) == 1
    marks = list(_of_one(runs[0])) if alone else [mark for p in enumerate(runs) for mark in _of_many(*p)]
    labelled = all(run.account.cascade.accuracy is not None for run in runs)
    y_label = "accuracy, %" if labelled else "same answer as heavy, %"
    x_label = "cost of a decision, heavy expert alone = 1" if alone else "mean of a decision, µs"

    def draw(canvas: Figure) -> None:
        panel = canvas.subplots()
        curve = _curve(runs[0]) if alone else None
        if curve is not None:
            panel.plot(curve[0], 100 * curve[1], color=FAINT, linewidth=1, zorder=1, label=_CURVE)
        for mark in marks:
            _mark(panel, mark)
        _frame(panel, marks)
        panel.locator_params(axis="x", nbins=6)
        panel.set_xlabel(x_label)
        panel.set_ylabel(y_label)
        panel.grid()
        legend_below(canvas, panel)

    height = 2.4 + legend_height([_CURVE, *(mark.name for mark in marks)])
    words = "; ".join(f"{mark.name}: cost {mark.cost.value:,.3g}, {100 * mark.right.value:.2f}%" for mark in marks)
    caption = "Further left is cheaper, further up is better. Bars are 95% intervals."
    if alone:
        caption += " Hollow marks are estimates and promises, not measurements; the line is what this run's own answers"
        caption += " would have given at other confidence thresholds."
    return figure(inline_svg("pareto", (WIDTH, height), draw), f"Cost against accuracy. {words}.", caption)


def _of_one(run: MeasuredRun) -> Iterator[Mark]:
    account = run.account
    light = account.light.latency.mean.over(account.heavy.latency.mean_us)
    yield Mark("heavy alone", exact(1.0), _right(run, "heavy"), HEAVY, "s")
    yield Mark("light alone", light, _right(run, "light"), LIGHT, "D")
    right = _right(run, "cascade")
    for name, marker in (("mixture", "v"), ("sequential", "^"), ("expected", "o")):
        yield Mark(f"{name} (estimate)", exact(getattr(account.costs, name)), exact(right.value), INK, marker, True)
    yield Mark("cascade as measured", account.costs.measured, right, CASCADE, "o")
    yield from _promised(run)


def _promised(run: MeasuredRun) -> Iterator[Mark]:
    """Yields what the bundle's manifest says of the precisions that did not run here."""
    manifest = None if run.bundle is None else run.bundle.manifest
    if manifest is None or run.account.cascade.accuracy is None:
        return
    others = {name: each for name, each in manifest.precisions.items() if name not in ("fp32", run.precision)}
    for (name, other), marker in zip(others.items(), "Xp", strict=False):
        reference = other.router.reference
        if reference is not None and other.accuracy is not None:
            cost = expected(Rates(reference.early, reference.late), manifest.costs)
            label = f"{name}, cost in {_UNITS.get(manifest.costs.unit, manifest.costs.unit)}"
            yield Mark(label, exact(cost), exact(other.accuracy.cascade), FAINT, marker, hollow=True)


def _of_many(number: int, run: MeasuredRun) -> Iterator[Mark]:
    style = style_of(number)
    for name, marker, hollow in (("heavy", "s", True), ("light", "D", True), ("cascade", "o", False)):
        mean, label = getattr(run.account, name).latency.mean, f"{short(run.name)}: {name}"
        yield Mark(label, mean, _right(run, name), style.colour, marker, hollow)


def _right(run: MeasuredRun, name: str) -> Estimate:
    """Returns the accuracy; without labels how often the heavy expert's answer is given."""
    accuracy: Estimate | None = getattr(run.account, name).accuracy
    if accuracy is not None:
        return accuracy
    samples = run.samples
    if name == "light":
        return exact(float((samples.light_labels == samples.heavy_labels).mean()))
    return exact(1.0 if name == "heavy" else run.agreement)


def _mark(panel: Axes, mark: Mark) -> None:
    panel.errorbar(
        [mark.cost.value],
        [100 * mark.right.value],
        xerr=error_bar(mark.cost),
        yerr=error_bar(mark.right, 100),
        color=mark.colour,
        marker=mark.marker,
        markersize=8 if mark.hollow else 6,
        markerfacecolor="none" if mark.hollow else mark.colour,
        markeredgewidth=1.2,
        linewidth=1.2,
        capsize=2.5,
        linestyle="none",
        label=mark.name,
        zorder=3 if mark.hollow else 4,
    )


def _frame(panel: Axes, marks: Sequence[Mark]) -> None:
    """Shows every mark with its interval; what falls below is a threshold that nobody would choose."""
    rights = [side for mark in marks for side in (mark.right.value, *mark.right.interval) if side is not None]
    margin = max(12 * (max(rights) - min(rights)), 0.3)
    panel.set_ylim(100 * min(rights) - margin, 100 * max(rights) + margin)
    panel.set_xlim(0, 1.06 * max(mark.cost.interval[1] or mark.cost.value for mark in marks))


def _curve(run: MeasuredRun) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Returns expected cost and share of right answers by confidence threshold, from what this run answered."""
    samples = run.samples
    asked = ~np.isnan(samples.confidence)
    if np.count_nonzero(asked) < _STEPS:
        return None
    truth = samples.heavy_labels if run.labels is None else run.labels[samples.input_index]
    light_right, heavy_right = samples.light_labels == truth, samples.heavy_labels == truth
    passes, early = passes_of(samples), float((samples.branches == Branch.EARLY).mean())
    thresholds = np.quantile(samples.confidence[asked], np.linspace(0, 1, _STEPS))
    costs, rights = [], []
    for threshold in thresholds:
        late = asked & ~answers(samples.confidence, threshold)
        by_heavy = late | ~asked
        costs.append(passes.expected_us(Rates(early, float(late.mean()))) / samples.heavy_us.mean())
        rights.append(float(np.where(by_heavy, heavy_right, light_right).mean()))
    return np.array(costs), np.array(rights)


_NAMES = ("mixture", "sequential", "expected", "measured")


def four_costs(four: FourCosts) -> str:
    """Returns the figure."""

    def draw(canvas: Figure) -> None:
        panel = canvas.subplots()
        measured = four.measured
        for row, name in enumerate(_NAMES[:-1]):
            panel.plot([getattr(four, name)], [row], "o", color=INK, markerfacecolor="none", markersize=7)
        reach = error_bar(measured)
        panel.errorbar([measured.value], [3], xerr=reach, fmt="o", color=CASCADE, capsize=3, markersize=7)
        panel.axvline(measured.value, color=CASCADE, linewidth=0.7, linestyle=(0, (3, 2)), zorder=1)
        panel.set_yticks(range(len(_NAMES)), _NAMES)
        panel.set_ylim(3.5, -0.5)
        panel.tick_params(axis="y", length=0)
        panel.margins(x=0.12)
        panel.locator_params(axis="x", nbins=6)
        panel.set_xlabel("cost, heavy expert alone = 1")
        panel.grid()

    words = ", ".join(f"{name} {getattr(four, name):.3f}" for name in _NAMES[:-1])
    label = f"Four costs. {words}, measured {four.measured.value:.3f}."
    caption = "The scale does not begin at 0. The bar is the 95% interval of what was measured."
    return figure(inline_svg("costs", (WIDTH, 1.5), draw), label, caption)
