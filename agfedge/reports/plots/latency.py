"""Histograms of the cascade's latency, a panel a branch, all over the same scale."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from agfedge.pages.figures import EARLY, HEAVY, INK, LATE, LIGHT, inline_svg
from agfedge.pages.html import figure
from agfedge.pages.style import WIDTH, legend_below, legend_height, short, style_of
from agfedge.pages.words import duration
from agfedge_runtime import Branch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from agfedge.reports.profile import Profile

_BINS = 50
# Beyond are single decisions, which would press all others into a few bins.
_SHOWN = 99.0
# From so many times the shortest on a linear scale would hide the shorter branches.
_LOGARITHMIC = 3
_COLOURS = {Branch.EARLY: EARLY, Branch.LIGHT: LIGHT, Branch.LATE: LATE}


def latencies(profiles: Sequence[Profile]) -> str:
    """Returns the figure."""
    paths = {Branch[each.name.upper()]: each.path for each in profiles[0].account.branches}
    shown = [branch for branch in paths if any(len(_of(profile, branch)) for profile in profiles)]
    every = np.concatenate([profile.samples.cascade_us for profile in profiles])
    last = max(float(np.percentile(_of(*each), _SHOWN)) for each in product(profiles, shown) if len(_of(*each)))
    edges, logarithmic = _edges(float(every.min()), last)

    def draw(canvas: Figure) -> None:
        panels = canvas.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
        for panel, branch in zip(panels, shown, strict=True):
            _panel(panel, profiles, branch, edges)
            panel.set_title(f"{branch.name.lower()} ({paths[branch]})")
        if logarithmic:
            _logarithmic(panels[-1], edges)
        panels[-1].set_xlim(edges[0], edges[-1])
        panels[-1].set_xlabel("a decision, µs")
        canvas.supylabel("decisions" if len(profiles) == 1 else "share of decisions, %", fontsize=9)
        if len(profiles) > 1:
            legend_below(canvas, panels[0])

    height = (
        0.5 + 0.95 * len(shown) + (legend_height([short(each.name) for each in profiles]) if len(profiles) > 1 else 0)
    )
    medians = [
        f"{profile.name + ', ' if len(profiles) > 1 else ''}{each.name}: {each.share.count} decisions, median "
        f"{'none' if each.latency is None else duration(each.latency.p50_us)}"
        for profile in profiles
        for each in profile.account.branches
    ]
    beyond = int((every > edges[-1]).sum())
    caption = "Dashed lines are medians." if len(profiles) == 1 else "Each profile's decisions are 100%."
    if beyond:
        caption += f" {beyond} of {len(every):,} decisions took longer than {duration(edges[-1])} and are not shown."
    return figure(inline_svg("latency", (WIDTH, height), draw), f"Latency by branch. {'; '.join(medians)}.", caption)


def _of(profile: Profile, branch: Branch) -> NDArray[np.float64]:
    times: NDArray[np.float64] = profile.samples.cascade_us[profile.samples.branches == branch]
    return times


def _edges(first: float, last: float) -> tuple[NDArray[np.float64], bool]:
    first = max(first, 1e-3)
    last = max(1.05 * last, first * 1.01)
    if last / first > _LOGARITHMIC:
        return np.geomspace(first, last, _BINS + 1), True
    return np.linspace(first, last, _BINS + 1), False


def _panel(panel: Axes, profiles: Sequence[Profile], branch: Branch, edges: NDArray[np.float64]) -> None:
    for number, profile in enumerate(profiles):
        times = _of(profile, branch)
        counts, _ = np.histogram(times, edges)
        if len(profiles) == 1:
            panel.stairs(counts, edges, fill=True, color=_COLOURS.get(branch, HEAVY), alpha=0.85)
            if len(times):
                panel.axvline(float(np.median(times)), color=INK, linewidth=1, linestyle=(0, (3, 2)))
        else:
            style = style_of(number)
            shares = 100 * counts / len(profile.samples)
            panel.stairs(
                shares, edges, color=style.colour, linestyle=style.line, linewidth=1.4, label=short(profile.name)
            )
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
