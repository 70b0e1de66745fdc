"""From scores to what stays: by shares, or the most within a budget, settled on the graph that is really left."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import ceil
from typing import TYPE_CHECKING

from agfedge.allocate.allocation import Allocation
from agfedge.allocate.estimate import CostEstimate
from agfedge.allocate.kernels import graph_kernels
from agfedge.allocate.solve import Problem, Settled, drop_order, solve
from agfedge.allocate.units import group_units, without_conflicts
from agfedge_export import graph_costs, make_plan, prune
from agfedge_runtime.errors import InputError

if TYPE_CHECKING:
    import onnx

    from agfedge.allocate.allocation import Budget, Keep
    from agfedge.scores import Scores
    from agfedge_export import ChannelGroups, Group, Plan


UNITS = {"width": "channels", "macs": "MACs", "parameters": "parameters", "latency": "us (predicted)"}


def uniform_keep(groups: ChannelGroups, scores: Scores, keep: float) -> Keep:
    """Keeps the same share of every group; see `allocate`."""
    return allocate(groups, scores, Allocation(keep))


def allocate(groups: ChannelGroups, scores: Scores, allocation: Allocation) -> Keep:
    """Keeps the best units, at least one along every axis of a parameter.

    Uniform: each group keeps the number nearest to its share. Global: the best units of all groups stay, by normalised
    scores, never more than the share of all units, and of no group less than its floor.

    Args:
        groups: the analysis.
        scores: for each group that is not left alone float64 (size,), higher is worth more.
        allocation: shares, alignment and exceptions.

    Returns:
        For each group that is not left alone the units that stay, ascending, int64. Equal scores keep the lower unit.

    Raises:
        InputError: a share, a count or the alignment is out of range, or floors and alignment ask for more.
    """
    allocation.check()
    if allocation.kind == "global":
        return _competing(groups, scores, allocation)
    shares = {group.name: allocation.keep for group in groups.groups} | dict(allocation.per_group)
    keep = {
        group.name: group_units(group, scores[group.name], shares[group.name], allocation.align)
        for group in groups.groups
        if group.name not in allocation.whole
    }
    return without_conflicts(groups, scores, keep, allocation)


def _competing(groups: ChannelGroups, scores: Scores, allocation: Allocation) -> Keep:
    total = sum(group.size for group in groups.groups if group.name not in allocation.whole)
    limit = allocation.keep * total
    problem = Problem(groups, scores, allocation, width, lambda keep: Settled(keep, width(keep)), limit)
    settled = solve(problem)
    if not problem.fits(settled):
        raise InputError(
            f"--keep {allocation.keep} cannot be met: floors (--floor {allocation.floor}) and alignment leave "
            f"{settled.cost / total:.3f} at least"
        )
    return settled.keep


def width(keep: Keep) -> float:
    """Returns how many units stay."""
    return float(sum(len(units) for units in keep.values()))


@dataclass(frozen=True)
class Spent:
    """What a plan costs, measured on the pruned graph.

    Attributes:
        of: what is counted: "width", "macs", "parameters" or "latency".
        unit: of the figures.
        share: that the budget allows.
        before: of the given model.
        after: of the pruned one; at most `share` of `before`.
        dropped: the groups whose branches went whole.
        device: the profile and power mode that predicted a latency, and whether by a table, else None.
        precision: of that prediction, else None.
    """

    of: str
    unit: str
    share: float
    before: float
    after: float
    dropped: tuple[str, ...] = ()
    device: str | None = None
    precision: str | None = None

    def in_words(self) -> str:
        """Returns the line that says how the budget was met."""
        on = "" if self.device is None else f" on {self.device}, {self.precision}"
        share = self.after / self.before if self.before else 0.0
        gone = f"; {len(self.dropped)} branches went whole" if self.dropped else ""
        figures = f"{self.after:,.0f} of {self.before:,.0f} {self.unit}{on}"
        return f"{self.of}: {figures}, {share:.1%} (budget {self.share:.1%}){gone}"


@dataclass(frozen=True)
class Planned:
    """A plan, the graph that it leaves, and what that costs where there was a budget."""

    plan: Plan
    model: onnx.ModelProto
    spent: Spent | None


@dataclass(frozen=True)
class _Measure:
    """A cost, as estimated for a choice of units and as measured on a graph (with the units that stay of it)."""

    estimated: Callable[[Keep], float]
    measured: Callable[[onnx.ModelProto, Keep], float]

    def settled(self, model: onnx.ModelProto, groups: ChannelGroups, keep: Keep) -> Settled:
        """Prunes a graph and measures what is left of it."""
        plan = make_plan(groups, keep)
        pruned = prune(model, plan).model
        return Settled(keep, self.measured(pruned, keep), (plan, pruned))


def plan_model(
    model: onnx.ModelProto,
    groups: ChannelGroups,
    scores: Scores,
    allocation: Allocation,
    budget: Budget | None = None,
    branches: Sequence[str] | None = None,
) -> Planned:
    """Plans by `allocate` where there is no budget, else by `plan_for_budget`; same arguments and errors."""
    if budget is not None:
        return plan_for_budget(model, groups, scores, allocation, budget, branches)
    plan = make_plan(groups, allocate(groups, scores, allocation))
    return Planned(plan, prune(model, plan).model, None)


def plan_for_budget(
    model: onnx.ModelProto,
    groups: ChannelGroups,
    scores: Scores,
    allocation: Allocation,
    budget: Budget,
    branches: Sequence[str] | None = None,
) -> Planned:
    """Finds the most that stays of a model within a budget.

    An estimate drives the search; the graph that a plan really leaves is measured, and the search corrected by what it
    shows, until the cost is within the budget and nothing nearer is found.

    Args:
        model: the graph.
        groups: its analysis.
        scores: for each group that is not left alone float64 (size,), higher is worth more.
        allocation: the kind of allocation, alignment, floors and exceptions; its `keep` is not looked at.
        budget: what it may cost.
        branches: the groups whose branches may go whole, those that are missed least first; None orders them by the
            utility that their scores lose for what they save.

    Raises:
        InputError: an option is out of range, or the budget cannot be met: the message says what can.
        AgfedgeError: the model cannot be measured or pruned.
    """
    allocation.check()
    budget.check(allocation)
    measure = _measure(groups, allocation, budget)
    before = measure.measured(model, {})
    free = [group for group in groups.groups if group.name not in {*allocation.whole, *allocation.per_group}]
    order = _drop_order(groups, free, scores, measure, branches) if budget.drop_branches else []
    settle = partial(measure.settled, model, groups)
    problem = Problem(groups, scores, allocation, measure.estimated, settle, budget.share * before, order)
    settled = solve(problem)
    if not problem.fits(settled):
        raise _unreachable(settled.cost / before, allocation, budget, any(group.may_vanish for group in free))
    plan, pruned = settled.pruned or (make_plan(groups, settled.keep), model)
    return Planned(plan, pruned, _spent(budget, before, settled))


def _drop_order(
    groups: ChannelGroups,
    free: Sequence[Group],
    scores: Scores,
    measure: _Measure,
    branches: Sequence[str] | None,
) -> list[str]:
    if branches is None:
        return drop_order(free, scores, measure.estimated, CostEstimate(groups).may_go)
    names = {group.name for group in free}
    return [name for name in branches if name in names]


def _spent(budget: Budget, before: float, settled: Settled) -> Spent:
    dropped = tuple(name for name, units in settled.keep.items() if not len(units))
    device = None if budget.device is None else budget.device.name
    precision = None if device is None else budget.precision
    return Spent(budget.of, UNITS[budget.of], budget.share, before, settled.cost, dropped, device, precision)


def _measure(groups: ChannelGroups, allocation: Allocation, budget: Budget) -> _Measure:
    if budget.of == "width":
        sizes = {group.name: group.size for group in groups.groups if group.name not in allocation.whole}

        def of_all(keep: Keep) -> float:
            return width(keep) + sum(size for name, size in sizes.items() if name not in keep)

        return _Measure(of_all, lambda _, keep: of_all(keep))
    estimate, device = CostEstimate(groups), budget.device
    if budget.of == "macs":
        return _Measure(estimate.macs, lambda model, _: graph_costs(model).macs)
    if budget.of == "parameters":
        return _Measure(estimate.parameters, lambda model, _: graph_costs(model).parameters)
    if device is None:
        raise InputError("--of latency needs a device: name one by --target")
    return _Measure(
        lambda keep: device.latency_us(estimate.kernels(keep), budget.precision),
        lambda model, _: device.latency_us(graph_kernels(model), budget.precision),
    )


def _unreachable(least: float, allocation: Allocation, budget: Budget, branches: bool) -> InputError:
    """Says the least that can be asked for, and what would lower it."""
    advice = f"ask for that, or lower --floor {allocation.floor:g}" if allocation.floor > 0.01 else "ask for that"
    if allocation.align > 1:
        advice += f" or --align {allocation.align}"
    if branches and not budget.drop_branches:
        advice += ", or let residual branches go whole: --allocation global --drop-branches"
    return InputError(
        f"--budget {budget.share:g} of the {budget.of} cannot be met: {ceil(least * 1000) / 1000:g} is the least that "
        f"can; {advice}"
    )
