"""The reconciliation as a waterfall: from the expected mean, term by term, to the measured one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agfedge.pages.figures import CASCADE, FAINT, HEAVY, INK, LIGHT, inline_svg
from agfedge.pages.html import figure
from agfedge.pages.style import WIDTH, legend_below, legend_height, short, style_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from agfedge.account.reconciliation import Reconciliation
    from agfedge.reports.profile import Profile


def waterfall(profiles: Sequence[Profile]) -> str | None:
    """Returns the figure; None where nothing was split. Of several profiles the terms stand by each other."""
    found = [(each, each.account.reconciliation) for each in profiles if each.account.reconciliation is not None]
    told = "; ".join(
        f"{profile.name + ': ' if len(profiles) > 1 else ''}expected {account.expected_us:,.1f} µs, "
        + ", ".join(f"{term.name} {term.us:+,.2f}" for term in account.terms)
        + f", measured {account.measured_us:,.1f} µs"
        for profile, account in found
        if account is not None
    )
    if not found:
        return None
    if len(profiles) == 1:
        account = profiles[0].account.reconciliation
        assert account is not None  # noqa: S101 - found above
        height = 0.6 + 0.27 * (len(account.terms) + 2)
        svg = inline_svg("waterfall", (WIDTH, height), lambda canvas: _steps(canvas, account))
        caption = "Mean of a decision, µs. The scale does not begin at 0. Thin lines are 95% intervals of the terms."
        return figure(svg, f"Reconciliation. {told}.", caption)
    names = list(dict.fromkeys(term.name for _, account in found if account is not None for term in account.terms))
    height = (
        0.6 + (0.14 + 0.15 * len(found)) * len(names) + legend_height([short(profile.name) for profile, _ in found])
    )
    svg = inline_svg("waterfall", (WIDTH, height), lambda canvas: _side_by_side(canvas, profiles, names))
    caption = "What a decision takes beyond what was expected, µs, by term. Thin lines are 95% intervals."
    return figure(svg, f"Reconciliation. {told}.", caption)


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


def _side_by_side(canvas: Figure, profiles: Sequence[Profile], names: Sequence[str]) -> None:
    panel = canvas.subplots()
    thick = 0.8 / len(profiles)
    for number, profile in enumerate(profiles):
        account, style = profile.account.reconciliation, style_of(number)
        terms = {} if account is None else {term.name: term for term in account.terms}
        for row, name in enumerate(names):
            term = terms.get(name)
            if term is None:
                continue
            at = row - 0.4 + thick * (number + 0.5)
            label = short(profile.name) if name == next(iter(terms)) else None
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
