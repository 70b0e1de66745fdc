"""Plots of time: latencies by branch, the reconciliation as a waterfall, and power, temperature and clocks."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from agfedge.pages.figures import (
    CASCADE,
    EARLY,
    FAINT,
    HEAVY,
    INK,
    LATE,
    LIGHT,
    WIDTH,
    inline_svg,
    legend_below,
    legend_height,
    legend_of,
    short,
    style_of,
)
from agfedge.pages.html import figure
from agfedge.pages.words import duration
from agfedge_runtime import Branch
from agfedge_runtime.state.validity import column

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from agfedge.account.reconciliation import Reconciliation
    from agfedge.reports.runs import MeasuredRun

_BINS = 50
# Beyond are single decisions, which would press all others into a few bins.
_SHOWN = 99.0
# From so many times the shortest on a linear scale would hide the shorter branches.
_LOGARITHMIC = 3
_COLOURS = {Branch.EARLY: EARLY, Branch.LIGHT: LIGHT, Branch.LATE: LATE}


def latencies(runs: Sequence[MeasuredRun]) -> str:
    """Returns the figure."""
    paths = {Branch[each.name.upper()]: each.path for each in runs[0].account.branches}
    shown = [branch for branch in paths if any(len(_of(run, branch)) for run in runs)]
    every = np.concatenate([run.samples.cascade_us for run in runs])
    last = max(float(np.percentile(_of(*each), _SHOWN)) for each in product(runs, shown) if len(_of(*each)))
    edges, logarithmic = _edges(float(every.min()), last)

    def draw(canvas: Figure) -> None:
        panels = canvas.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
        for panel, branch in zip(panels, shown, strict=True):
            _panel(panel, runs, branch, edges)
            panel.set_title(f"{branch.name.lower()} ({paths[branch]})")
        if logarithmic:
            _logarithmic(panels[-1], edges)
        panels[-1].set_xlim(edges[0], edges[-1])
        panels[-1].set_xlabel("a decision, µs")
        canvas.supylabel("decisions" if len(runs) == 1 else "share of decisions, %", fontsize=9)
        if len(runs) > 1:
            legend_below(canvas, panels[0])

    height = 0.5 + 0.95 * len(shown) + legend_of([run.name for run in runs])
    medians = [
        f"{run.name + ', ' if len(runs) > 1 else ''}{each.name}: {each.share.count} decisions, median "
        f"{'none' if each.latency is None else duration(each.latency.p50_us)}"
        for run in runs
        for each in run.account.branches
    ]
    beyond = int((every > edges[-1]).sum())
    caption = "Dashed lines are medians." if len(runs) == 1 else "Each profile's decisions are 100%."
    if beyond:
        caption += f" {beyond} of {len(every):,} decisions took longer than {duration(edges[-1])} and are not shown."
    return figure(inline_svg("latency", (WIDTH, height), draw), f"Latency by branch. {'; '.join(medians)}.", caption)


def _of(run: MeasuredRun, branch: Branch) -> NDArray[np.float64]:
    times: NDArray[np.float64] = run.samples.cascade_us[run.samples.branches == branch]
    return times


def _edges(first: float, last: float) -> tuple[NDArray[np.float64], bool]:
    first = max(first, 1e-3)
    last = max(1.05 * last, first * 1.01)
    if last / first > _LOGARITHMIC:
        return np.geomspace(first, last, _BINS + 1), True
    return np.linspace(first, last, _BINS + 1), False


def _panel(panel: Axes, runs: Sequence[MeasuredRun], branch: Branch, edges: NDArray[np.float64]) -> None:
    for number, run in enumerate(runs):
        times = _of(run, branch)
        counts, _ = np.histogram(times, edges)
        if len(runs) == 1:
            panel.stairs(counts, edges, fill=True, color=_COLOURS.get(branch, HEAVY), alpha=0.85)
            if len(times):
                panel.axvline(float(np.median(times)), color=INK, linewidth=1, linestyle=(0, (3, 2)))
        else:
            style = style_of(number)
            shares = 100 * counts / len(run.samples)
            panel.stairs(shares, edges, color=style.colour, linestyle=style.line, linewidth=1.4, label=short(run.name))
    panel.set_ylim(bottom=0)
    panel.locator_params(axis="y", nbins=3)


def _logarithmic(panel: Axes, edges: NDArray[np.float64]) -> None:
    panel.set_xscale("log")
    decades = 10.0 ** np.arange(np.floor(np.log10(edges[0])), np.ceil(np.log10(edges[-1])) + 1)
    wide = edges[-1] / edges[0]
    steps = (1, 1.5, 2, 3, 5, 7) if wide < 12 else (1, 2, 5) if wide < 200 else (1,)
    ticks = [step * decade for decade in decades for step in steps if edges[0] <= step * decade <= edges[-1]]
    panel.set_xticks(ticks, [f"{tick:,.4g}" if tick < 1000 else f"{tick:,.0f}" for tick in ticks])
    panel.set_xticks([], minor=True)


def waterfall(runs: Sequence[MeasuredRun]) -> str | None:
    """Returns the figure; None where nothing was split. Of several runs the terms stand by each other."""
    split = [(each, each.account.reconciliation) for each in runs if each.account.reconciliation is not None]
    words = "; ".join(
        f"{run.name + ': ' if len(runs) > 1 else ''}expected {reconciliation.expected_us:,.1f} µs, "
        + ", ".join(f"{term.name} {term.us:+,.2f}" for term in reconciliation.terms)
        + f", measured {reconciliation.measured_us:,.1f} µs"
        for run, reconciliation in split
        if reconciliation is not None
    )
    if not split:
        return None
    if len(runs) == 1:
        reconciliation = runs[0].account.reconciliation
        assert reconciliation is not None  # noqa: S101 - found above
        height = 0.6 + 0.27 * (len(reconciliation.terms) + 2)
        svg = inline_svg("waterfall", (WIDTH, height), lambda canvas: _steps(canvas, reconciliation))
        caption = "Mean of a decision, µs. The scale does not begin at 0. Thin lines are 95% intervals of the terms."
        return figure(svg, f"Reconciliation. {words}.", caption)
    names = list(
        dict.fromkeys(
            term.name for _, reconciliation in split if reconciliation is not None for term in reconciliation.terms
        )
    )
    height = 0.6 + (0.14 + 0.15 * len(split)) * len(names) + legend_height([short(run.name) for run, _ in split])
    svg = inline_svg("waterfall", (WIDTH, height), lambda canvas: _side_by_side(canvas, runs, names))
    caption = "What a decision takes beyond what was expected, µs, by term. Thin lines are 95% intervals."
    return figure(svg, f"Reconciliation. {words}.", caption)


def _steps(canvas: Figure, account: Reconciliation) -> None:
    panel = canvas.subplots()
    names = ["expected", *(term.name for term in account.terms), "measured"]
    level, levels = account.expected_us, [account.expected_us, account.measured_us]
    for row, term in enumerate(account.terms, 1):
        colour = HEAVY if term.us >= 0 else LIGHT
        # Less is hatched: it differs without colour too.
        panel.barh(row, term.us, left=level, color=colour if term.us >= 0 else "none", edgecolor=colour,
                   hatch=None if term.us >= 0 else "////", height=0.62, zorder=3)  # fmt: skip
        panel.plot([level, level], [row - 1 + 0.31, row + 0.31], color=FAINT, linewidth=0.8, zorder=2)
        if term.low_us is not None and term.high_us is not None:
            panel.plot([level + term.low_us, level + term.high_us], [row, row], color=INK, linewidth=1, zorder=4)
            levels += [level + term.low_us, level + term.high_us]
        level += term.us
        levels.append(level)
    panel.plot([level, level], [len(names) - 2 + 0.31, len(names) - 1 + 0.31], color=FAINT, linewidth=0.8, zorder=2)
    _frame(panel, levels)
    left = panel.get_xlim()[0]
    for row, value in ((0, account.expected_us), (len(names) - 1, account.measured_us)):
        panel.barh(row, value - left, left=left, color=CASCADE, height=0.62, zorder=3)
    values = [f"{account.expected_us:,.1f}", *(f"{each.us:+,.2f}" for each in account.terms)]
    _rows(panel, names, [*values, f"{account.measured_us:,.1f}"])


def _frame(panel: Axes, levels: Sequence[float]) -> None:
    width = max(max(levels) - min(levels), 0.02 * max(levels), 1e-9)
    panel.set_xlim(max(0.0, min(levels) - 0.35 * width), max(levels) + 0.08 * width)


def _rows(panel: Axes, names: Sequence[str], values: Sequence[str]) -> None:
    """Names to the left, values to the right, so that neither lies on a bar."""
    panel.set_yticks(range(len(names)), names)
    panel.set_ylim(len(names) - 0.5, -0.5)
    right = panel.secondary_yaxis("right")
    right.set_yticks(range(len(values)), values)
    for axis in (panel, right):
        axis.tick_params(axis="y", length=0)
        axis.spines[:].set_visible(False)
    panel.spines["bottom"].set_visible(True)
    panel.locator_params(axis="x", nbins=5)
    panel.grid(axis="x")


def _side_by_side(canvas: Figure, runs: Sequence[MeasuredRun], names: Sequence[str]) -> None:
    panel = canvas.subplots()
    thick = 0.8 / len(runs)
    for number, run in enumerate(runs):
        account, style = run.account.reconciliation, style_of(number)
        terms = {} if account is None else {term.name: term for term in account.terms}
        for row, name in enumerate(names):
            term = terms.get(name)
            if term is None:
                continue
            at = row - 0.4 + thick * (number + 0.5)
            label = short(run.name) if name == next(iter(terms)) else None
            panel.barh(at, term.us, color=style.colour, height=0.85 * thick, label=label, zorder=2,
                       hatch=(None, "////", "....", "xxxx")[number % 4], edgecolor=style.colour,
                       fill=number == 0)  # fmt: skip
            if term.low_us is not None and term.high_us is not None:
                panel.plot([term.low_us, term.high_us], [at, at], color=INK, linewidth=1, zorder=4)
    panel.axvline(0, color=FAINT, linewidth=0.8)
    panel.set_yticks(range(len(names)), names)
    panel.set_ylim(len(names) - 0.5, -0.5)
    panel.tick_params(axis="y", length=0)
    panel.grid(axis="x")
    legend_below(canvas, panel)


_COLUMNS = {
    "total_w": "power, W",
    "temperature_c": "temperature, °C",
    "gpu_mhz": "GPU clock, MHz",
    "emc_mhz": "memory clock, MHz",
}


def power(runs: Sequence[MeasuredRun]) -> str | None:
    """Returns the figure; None where no run has a series of any of them.

    Raises:
        InputError: the series of the samples are malformed.
    """
    shown = [name for name in _COLUMNS if any(_has(run, name) for run in runs)]
    if not shown:
        return None

    def draw(canvas: Figure) -> None:
        panels = canvas.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
        for panel, name in zip(panels, shown, strict=True):
            _series(panel, runs, name)
            panel.set_title(_COLUMNS[name])
            panel.margins(y=0.15)
            panel.locator_params(axis="y", nbins=4)
            panel.grid(axis="y")
            if len(runs) == 1:
                panel.axvspan(0, _end(runs[0]), color=FAINT, alpha=0.12, linewidth=0)
        panels[-1].set_xlabel("seconds from the first decision")
        if len(runs) > 1:
            legend_below(canvas, panels[0])

    height = 0.5 + 1.0 * len(shown) + legend_of([run.name for run in runs])
    words = "; ".join(
        f"{_COLUMNS[name]}{f' of {run.name}' if len(runs) > 1 else ''}: {_range(run, name)}"
        for name in shown
        for run in runs
        if _has(run, name)
    )
    caption = "The shaded time is the run; before it the device warmed up." if len(runs) == 1 else ""
    return figure(inline_svg("power", (WIDTH, height), draw), f"The device over time. {words}.", caption)


def _series(panel: Axes, runs: Sequence[MeasuredRun], name: str) -> None:
    for number, run in enumerate(runs):
        if _has(run, name):
            style, times, values = style_of(number), _column(run, "t_s"), _column(run, name)
            label = short(run.name)
            panel.plot(times, values, color=style.colour, linestyle=style.line, linewidth=1.2, label=label)


def has_power(run: MeasuredRun) -> bool:
    """Returns whether watts were recorded during the run."""
    return _has(run, "total_w")


def _column(run: MeasuredRun, name: str) -> NDArray[np.float64]:
    series = (run.samples.state or {}).get("series")
    if not isinstance(series, dict) or name not in series:
        return np.empty(0)
    return column(series, name)


def _has(run: MeasuredRun, name: str) -> bool:
    return bool(np.isfinite(_column(run, name)).any())


def _range(run: MeasuredRun, name: str) -> str:
    values = _column(run, name)
    return f"{np.nanmin(values):,.1f} to {np.nanmax(values):,.1f}"


def _end(run: MeasuredRun) -> float:
    samples = run.samples
    return float(samples.start_s[-1] + samples.cascade_us[-1] / 1e6)
