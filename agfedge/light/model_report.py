"""The page of `agfedge inspect MODEL.onnx --report`: what can be removed, and why the rest cannot. For people."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from agfedge.pages.html import bar, page, section, table

if TYPE_CHECKING:
    import onnx

    from agfedge_export import ChannelGroups, GraphCosts, Group, KeptWhole, Plan

# Shows the rows and groups that hold every word of the search; opens what is folded before printing.
_SCRIPT = """\
const search = document.getElementById("search");
search.parentElement.hidden = false;
search.addEventListener("input", () => {
  const words = search.value.toLowerCase().split(/\\s+/).filter(Boolean);
  for (const each of document.querySelectorAll(".found")) {
    const text = each.textContent.toLowerCase();
    each.hidden = !words.every(word => text.includes(word));
  }
});
addEventListener("beforeprint", () => {
  for (const each of document.querySelectorAll("details")) each.open = true;
});
"""
# What differs between two cases of one reason: the tensor that a sentence begins with, a number with decimals, or a
# tensor's name such as relu_12, norm.0.bias or /layer1/Conv_output_0; an operator's name holds none of these marks.
_VARIES = re.compile(
    r"^\S+(?= has no channels)"
    r"|(?<!\S)(?:-?\d+\.\d+(?:e[+-]?\d+)?|-?\d+e[+-]?\d+|(?=\S*[/_.:])(?=\S*\d)\S*[^\s,;:])(?!\w)"
)


@dataclass(frozen=True)
class Reason:
    """One reason, and where it was met.

    Attributes:
        text: the reason, with a dash for what differs from case to case.
        axes: how many axes of parameters stay whole for it.
        nodes: at how many nodes.
        first: the first of them.
    """

    text: str
    axes: int
    nodes: int
    first: KeptWhole


def by_reason(kept: Iterable[KeptWhole]) -> tuple[Reason, ...]:
    """Sums up by reason, the most frequent first: a transformer has hundreds of axes, for a handful of reasons."""
    cases: dict[str, list[KeptWhole]] = {}
    for axis in kept:
        cases.setdefault(_VARIES.sub("\N{EN DASH}", axis.reason), []).append(axis)
    reasons = [Reason(text, len(own), len({axis.node for axis in own}), own[0]) for text, own in cases.items()]
    return tuple(sorted(reasons, key=lambda reason: -reason.axes))


def model_report(
    name: str,
    model: onnx.ModelProto,
    groups: ChannelGroups,
    costs: GraphCosts,
    stakes: Sequence[GraphCosts],
    plan: Plan | None = None,
) -> str:
    """Returns the page, self-contained.

    Args:
        name: the model's, for people.
        model: the analysed graph.
        groups: its analysis.
        costs: of the whole graph.
        stakes: for each group what its channels enter or leave, as of `ChannelGroups.costs_at_stake`.
        plan: whose kept channels are shown too, or None.
    """
    kept = {} if plan is None else {each.name: len(each.keep) for each in plan.groups}
    nodes = [node.name or f"{node.op_type}_{index}" for index, node in enumerate(model.graph.node)]
    folded = [
        _group(group, stake, costs, nodes, kept.get(group.name))
        for group, stake in zip(groups.groups, stakes, strict=True)
    ]
    return page(
        f"Channels of {name}",
        [
            *_summary(groups, costs),
            '<p class="screen" hidden><input id="search" type="search" placeholder="Search groups, parameters, nodes, '
            'reasons" aria-label="Search"></p>',
            section(
                "Channel groups",
                "<p>Channels of one group are chosen among each other. At stake is what the layers cost that a group's "
                "channels enter or leave; the bars are shares of the model.</p>" + "".join(folded),
            ),
            *_kept_whole(groups),
        ],
        _SCRIPT,
    )


def _summary(groups: ChannelGroups, costs: GraphCosts) -> tuple[str, str]:
    channels = sum(group.size for group in groups.groups)
    figures = (
        f"<p>{costs.macs / 1e6:,.2f} MMACs and {costs.parameters:,} parameters. {channels:,} channels in "
        f"{len(groups.groups)} groups can be removed exactly; {len(groups.kept_whole)} axes of parameters stay "
        "whole.</p>"
    )
    return figures, f"<p><small>sha256 {groups.model_sha256}</small></p>"


def _group(group: Group, stake: GraphCosts, costs: GraphCosts, nodes: Sequence[str], kept: int | None) -> str:
    rows = [
        (each.tensor, each.axis, int(np.count_nonzero(each.units >= 0)), each.role, nodes[each.node])
        for each in group.members
    ]
    return (
        f'<details class="found"><summary><b>{escape(group.name)}</b>, {group.size:,} channels'
        + (" (the branch may go whole)" if group.may_vanish else "")
        + ("" if kept is None else _stake(f"the plan keeps {kept:,}", kept, group.size))
        + _stake(f"{stake.macs / 1e6:,.2f} MMACs", stake.macs, costs.macs)
        + _stake(f"{stake.parameters:,} parameters", stake.parameters, costs.parameters)
        + "</summary>"
        + table(("parameter", "axis", "indices", "role", "node"), rows)
        + "</details>"
    )


def _stake(text: str, part: int, whole: int) -> str:
    share = min(1.0, part / whole) if whole else 0.0
    return f'<span class="stake"><span>{text}, {share:.1%}</span>{bar(share)}</span>'


def _kept_whole(groups: ChannelGroups) -> list[str]:
    if not groups.kept_whole:
        return []
    reasons = [(each.text, each.axes, each.nodes) for each in by_reason(groups.kept_whole)]
    rows = [(each.tensor, each.axis, each.node, each.reason) for each in groups.kept_whole]
    return [
        section("Kept whole: the reasons", table(("reason", "axes", "nodes"), reasons)),
        section("Kept whole: each axis", table(("parameter", "axis", "node", "reason"), rows, "found")),
    ]
