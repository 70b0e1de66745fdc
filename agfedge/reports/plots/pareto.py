"""Cost against accuracy: both experts alone, the cascade as measured, the estimates, and what else could be had."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from agfedge.account.passes import passes_of
from agfedge.pages.figures import CASCADE, FAINT, HEAVY, INK, LIGHT, inline_svg
from agfedge.pages.html import figure
from agfedge.pages.style import WIDTH, legend_below, legend_height, short, style_of
from agfedge.reports.verdict import agreement
from agfedge_profiles import PassCosts, Rates, expected
from agfedge_runtime.bundle.router import Branch, answers

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from agfedge.reports.profile import Profile

# Thresholds that the curve is drawn for.
_STEPS = 60
_CURVE = "cascade, other thresholds"
_UNITS = {"macs": "MACs"}


@dataclass(frozen=True)
class Point:
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


def pareto(profiles: Sequence[Profile]) -> str:
    """Returns the figure; one profile's costs are relative to its heavy expert, several ones' are microseconds."""
    alone = len(profiles) == 1
    points = list(_of_one(profiles[0])) if alone else [each for p in enumerate(profiles) for each in _of_many(*p)]
    labelled = all(profile.account.cascade.accuracy is not None for profile in profiles)
    y_label = "accuracy, %" if labelled else "same answer as heavy, %"
    x_label = "cost of a decision, heavy expert alone = 1" if alone else "mean of a decision, µs"

    def draw(canvas: Figure) -> None:
        panel = canvas.subplots()
        curve = _curve(profiles[0]) if alone else None
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


def _of_one(profile: Profile) -> Iterator[Point]:
    found = profile.account
    costs, heavy_us = found.costs, found.heavy.latency.mean_us
    light = found.light.latency
    yield Point("heavy alone", 1.0, _right(profile, "heavy")[0], HEAVY, "s", interval=_right(profile, "heavy")[1:])
    yield Point(
        "light alone",
        light.mean_us / heavy_us,
        _right(profile, "light")[0],
        LIGHT,
        "D",
        cost_low=None if light.low_us is None else light.low_us / heavy_us,
        cost_high=None if light.high_us is None else light.high_us / heavy_us,
        interval=_right(profile, "light")[1:],
    )
    right = _right(profile, "cascade")[0]
    for name, marker in (("mixture", "v"), ("sequential", "^"), ("expected", "o")):
        yield Point(f"{name} (estimate)", getattr(costs, name), right, INK, marker, hollow=True)
    measured = costs.measured
    yield Point(
        "cascade as measured", measured.value, right, CASCADE, "o", measured.low, measured.high,
        interval=_right(profile, "cascade")[1:],
    )  # fmt: skip
    yield from _promised(profile)


def _promised(profile: Profile) -> Iterator[Point]:
    """Yields what the bundle's manifest says of the precisions that did not run here."""
    manifest = None if profile.bundle is None else profile.bundle.manifest
    if manifest is None or profile.account.cascade.accuracy is None:
        return
    relative = PassCosts(manifest.costs.light, manifest.costs.prior, 0.0, manifest.costs.trunk, manifest.costs.heavy)
    others = {name: each for name, each in manifest.precisions.items() if name not in ("fp32", profile.precision)}
    for (name, other), marker in zip(others.items(), "Xp", strict=False):
        reference = other.router.reference
        if reference is not None and other.accuracy is not None:
            cost = expected(Rates(reference.early, reference.late), relative)
            label = f"{name}, cost in {_UNITS.get(manifest.costs.unit, manifest.costs.unit)}"
            yield Point(label, cost, other.accuracy.cascade, FAINT, marker, hollow=True)


def _of_many(number: int, profile: Profile) -> Iterator[Point]:
    style = style_of(number)
    for name, marker, hollow in (("heavy", "s", True), ("light", "D", True), ("cascade", "o", False)):
        latency = getattr(profile.account, name).latency
        yield Point(
            f"{short(profile.name)}: {name}", latency.mean_us, _right(profile, name)[0], style.colour, marker,
            latency.low_us, latency.high_us, interval=_right(profile, name)[1:], hollow=hollow,
        )  # fmt: skip


def _right(profile: Profile, name: str) -> tuple[float, float | None, float | None]:
    accuracy = getattr(profile.account, name).accuracy
    if accuracy is not None:
        return accuracy.value, accuracy.low, accuracy.high
    samples = profile.samples
    if name == "light":
        return float((samples.light_labels == samples.heavy_labels).mean()), None, None
    return (1.0 if name == "heavy" else agreement(profile)), None, None


def _mark(panel: Axes, point: Point) -> None:
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


def _frame(panel: Axes, points: Sequence[Point]) -> None:
    """Shows every mark with its interval; what falls below is a threshold that nobody would choose."""
    rights = [side for each in points for side in (each.right, *each.interval) if side is not None]
    margin = max(12 * (max(rights) - min(rights)), 0.3)
    panel.set_ylim(100 * min(rights) - margin, 100 * max(rights) + margin)
    panel.set_xlim(0, 1.06 * max(each.cost_high or each.cost for each in points))


def _curve(profile: Profile) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Returns expected cost and share of right answers by confidence threshold, from what this run answered."""
    samples = profile.samples
    asked = ~np.isnan(samples.confidence)
    if np.count_nonzero(asked) < _STEPS:
        return None
    truth = samples.heavy_labels if profile.labels is None else profile.labels[samples.input_index]
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
