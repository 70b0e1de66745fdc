"""Cost against accuracy: both experts alone, the cascade as measured, the estimates, and what else could be had."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from agfedge.account.costs import passes_of
from agfedge.pages.figures import (
    CASCADE,
    FAINT,
    HEAVY,
    INK,
    LIGHT,
    WIDTH,
    inline_svg,
    legend_below,
    legend_height,
    short,
    style_of,
)
from agfedge.pages.html import figure
from agfedge_profiles import PassCosts, Rates, expected
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
    """One mark of the plot: `cost` and `right` (a share, with `interval`) with the intervals that they have."""

    name: str
    cost: float
    right: float
    colour: str
    marker: str
    cost_low: float | None = None
    cost_high: float | None = None
    interval: tuple[float | None, float | None] = (None, None)
    hollow: bool = False


def pareto(runs: Sequence[MeasuredRun]) -> str:
    """Returns the figure; one profile's costs are relative to its heavy expert, several ones' are microseconds."""
    alone = len(runs) == 1
    points = list(_of_one(runs[0])) if alone else [each for p in enumerate(runs) for each in _of_many(*p)]
    labelled = all(run.account.cascade.accuracy is not None for run in runs)
    y_label = "accuracy, %" if labelled else "same answer as heavy, %"
    x_label = "cost of a decision, heavy expert alone = 1" if alone else "mean of a decision, µs"

    def draw(canvas: Figure) -> None:
        panel = canvas.subplots()
        curve = _curve(runs[0]) if alone else None
        if curve is not None:
            panel.plot(curve[0], 100 * curve[1], color=FAINT, linewidth=1, zorder=1, label=_CURVE)
        for point in points:
            _mark(panel, point)
        _frame(panel, points)
        panel.locator_params(axis="x", nbins=6)
        panel.set_xlabel(x_label)
        panel.set_ylabel(y_label)
        panel.grid()
        legend_below(canvas, panel)

    height = 2.4 + legend_height([_CURVE, *(point.name for point in points)])
    told = "; ".join(f"{each.name}: cost {each.cost:,.3g}, {100 * each.right:.2f}%" for each in points)
    caption = "Further left is cheaper, further up is better. Bars are 95% intervals."
    if alone:
        caption += " Hollow marks are estimates and promises, not measurements; the line is what this run's own answers"
        caption += " would have given at other confidence thresholds."
    return figure(inline_svg("pareto", (WIDTH, height), draw), f"Cost against accuracy. {told}.", caption)


def _of_one(run: MeasuredRun) -> Iterator[Mark]:
    found = run.account
    costs, heavy_us = found.costs, found.heavy.latency.mean_us
    light = found.light.latency
    yield Mark("heavy alone", 1.0, _right(run, "heavy")[0], HEAVY, "s", interval=_right(run, "heavy")[1:])
    yield Mark(
        "light alone",
        light.mean_us / heavy_us,
        _right(run, "light")[0],
        LIGHT,
        "D",
        cost_low=None if light.low_us is None else light.low_us / heavy_us,
        cost_high=None if light.high_us is None else light.high_us / heavy_us,
        interval=_right(run, "light")[1:],
    )
    right = _right(run, "cascade")[0]
    for name, marker in (("mixture", "v"), ("sequential", "^"), ("expected", "o")):
        yield Mark(f"{name} (estimate)", getattr(costs, name), right, INK, marker, hollow=True)
    measured = costs.measured
    yield Mark(
        "cascade as measured", measured.value, right, CASCADE, "o", measured.low, measured.high,
        interval=_right(run, "cascade")[1:],
    )  # fmt: skip
    yield from _promised(run)


def _promised(run: MeasuredRun) -> Iterator[Mark]:
    """Yields what the bundle's manifest says of the precisions that did not run here."""
    manifest = None if run.bundle is None else run.bundle.manifest
    if manifest is None or run.account.cascade.accuracy is None:
        return
    relative = PassCosts(manifest.costs.light, manifest.costs.prior, 0.0, manifest.costs.trunk, manifest.costs.heavy)
    others = {name: each for name, each in manifest.precisions.items() if name not in ("fp32", run.precision)}
    for (name, other), marker in zip(others.items(), "Xp", strict=False):
        reference = other.router.reference
        if reference is not None and other.accuracy is not None:
            cost = expected(Rates(reference.early, reference.late), relative)
            label = f"{name}, cost in {_UNITS.get(manifest.costs.unit, manifest.costs.unit)}"
            yield Mark(label, cost, other.accuracy.cascade, FAINT, marker, hollow=True)


def _of_many(number: int, run: MeasuredRun) -> Iterator[Mark]:
    style = style_of(number)
    for name, marker, hollow in (("heavy", "s", True), ("light", "D", True), ("cascade", "o", False)):
        latency = getattr(run.account, name).latency
        yield Mark(
            f"{short(run.name)}: {name}", latency.mean_us, _right(run, name)[0], style.colour, marker,
            latency.low_us, latency.high_us, interval=_right(run, name)[1:], hollow=hollow,
        )  # fmt: skip


def _right(run: MeasuredRun, name: str) -> tuple[float, float | None, float | None]:
    accuracy = getattr(run.account, name).accuracy
    if accuracy is not None:
        return accuracy.value, accuracy.low, accuracy.high
    samples = run.samples
    if name == "light":
        return float((samples.light_labels == samples.heavy_labels).mean()), None, None
    return (1.0 if name == "heavy" else run.agreement), None, None


def _mark(panel: Axes, point: Mark) -> None:
    panel.errorbar(
        [point.cost],
        [100 * point.right],
        xerr=_error(point.cost, point.cost_low, point.cost_high, 1),
        yerr=_error(point.right, *point.interval, 100),
        color=point.colour,
        marker=point.marker,
        markersize=8 if point.hollow else 6,
        markerfacecolor="none" if point.hollow else point.colour,
        markeredgewidth=1.2,
        linewidth=1.2,
        capsize=2.5,
        linestyle="none",
        label=point.name,
        zorder=3 if point.hollow else 4,
    )


def _error(value: float, low: float | None, high: float | None, scale: float) -> list[list[float]] | None:
    if low is None or high is None or np.isnan(low) or np.isnan(high):
        return None
    return [[scale * max(0.0, value - low)], [scale * max(0.0, high - value)]]


def _frame(panel: Axes, points: Sequence[Mark]) -> None:
    """Shows every mark with its interval; what falls below is a threshold that nobody would choose."""
    rights = [side for each in points for side in (each.right, *each.interval) if side is not None]
    margin = max(12 * (max(rights) - min(rights)), 0.3)
    panel.set_ylim(100 * min(rights) - margin, 100 * max(rights) + margin)
    panel.set_xlim(0, 1.06 * max(each.cost_high or each.cost for each in points))


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


def four_costs(found: FourCosts) -> str:
    """Returns the figure."""

    def draw(canvas: Figure) -> None:
        panel = canvas.subplots()
        measured = found.measured
        for row, name in enumerate(_NAMES[:-1]):
            panel.plot([getattr(found, name)], [row], "o", color=INK, markerfacecolor="none", markersize=7)
        reach = [[max(0.0, measured.value - measured.low)], [max(0.0, measured.high - measured.value)]]
        panel.errorbar([measured.value], [3], xerr=reach, fmt="o", color=CASCADE, capsize=3, markersize=7)
        panel.axvline(measured.value, color=CASCADE, linewidth=0.7, linestyle=(0, (3, 2)), zorder=1)
        panel.set_yticks(range(len(_NAMES)), _NAMES)
        panel.set_ylim(3.5, -0.5)
        panel.tick_params(axis="y", length=0)
        panel.margins(x=0.12)
        panel.locator_params(axis="x", nbins=6)
        panel.set_xlabel("cost, heavy expert alone = 1")
        panel.grid()

    told = ", ".join(f"{name} {getattr(found, name):.3f}" for name in _NAMES[:-1])
    label = f"Four costs. {told}, measured {found.measured.value:.3f}."
    caption = "The scale does not begin at 0. The bar is the 95% interval of what was measured."
    return figure(inline_svg("costs", (WIDTH, 1.5), draw), label, caption)
