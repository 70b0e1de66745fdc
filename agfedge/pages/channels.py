"""Kept channels, a bar a group, from the input to the output."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agfedge.pages.figures import FAINT, LIGHT, WIDTH, inline_svg, legend_below, legend_of, short, style_of
from agfedge.pages.html import figure, folded, table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.figure import Figure

    from agfedge_export import Plan


def channels(plans: Mapping[str, Plan]) -> str | None:
    """Returns the figure, and the groups' names folded behind it; None where no plan has groups.

    Args:
        plans: by the name of what they are of; those of several are drawn as outlines.
    """
    plans = {name: plan for name, plan in plans.items() if plan.groups}
    if not plans:
        return None
    longest = max(len(plan.groups) for plan in plans.values())

    def draw(canvas: Figure) -> None:
        panel = canvas.subplots()
        for number, (name, plan) in enumerate(plans.items()):
            shares = np.array([100 * len(group.keep) / group.size for group in plan.groups])
            if len(plans) == 1:
                places = np.arange(1, len(shares) + 1)
                panel.bar(places, 100, width=0.8, color="none", edgecolor=FAINT, linewidth=0.5)
                panel.bar(places, shares, width=0.8, color=LIGHT)
            else:
                style = style_of(number)
                edges = np.arange(len(shares) + 1) + 0.5
                panel.stairs(shares, edges, color=style.colour, linestyle=style.line, linewidth=1.4, label=short(name))
        panel.set_xlim(0.4, longest + 0.6)
        panel.set_ylim(0, 104)
        panel.locator_params(axis="x", integer=True, nbins=8)
        panel.set_xlabel("channel group, from input to output")
        panel.set_ylabel("kept, %")
        legend_below(canvas, panel)

    caption = "; ".join(f"{f'{name}: ' if len(plans) > 1 else ''}{_summary(plan)}" for name, plan in plans.items())
    height = 1.7 + legend_of(tuple(plans))
    drawn = figure(inline_svg("channels", (WIDTH, height), draw), f"Kept channels. {caption}.", f"{caption}.")
    rows = [
        (str(number), *((name,) if len(plans) > 1 else ()), group.name, f"{len(group.keep)} of {group.size}")
        for name, plan in plans.items()
        for number, group in enumerate(plan.groups, 1)
    ]
    headers = ("", *(("of",) if len(plans) > 1 else ()), "group", "kept")
    return drawn + folded("The groups by name", table(headers, rows, tight=True))


def _summary(plan: Plan) -> str:
    kept, size = sum(len(group.keep) for group in plan.groups), sum(group.size for group in plan.groups)
    gone = sum(not group.keep for group in plan.groups)
    branches = f"; {gone} went whole" if gone else ""
    return f"{kept:,} of {size:,} channels kept in {len(plan.groups)} groups{branches}"
