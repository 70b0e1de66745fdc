"""The four costs beside each other, close enough to tell them apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agfedge.pages.figures import CASCADE, INK, inline_svg
from agfedge.pages.html import figure
from agfedge.pages.style import WIDTH

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from agfedge.account.costs import Costs

_NAMES = ("mixture", "sequential", "expected", "measured")


def four_costs(found: Costs) -> str:
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
