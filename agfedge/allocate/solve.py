"""The most that stays within a limit, searched by estimate and settled by what is measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agfedge.allocate.branches import best_with_branches
from agfedge.allocate.climb import SLACK, Climb, best_within
from agfedge.allocate.ladder import Realiser, global_ladder, uniform_ladder
from agfedge.allocate.units import without_conflicts

if TYPE_CHECKING:
    import onnx

    from agfedge.allocate.climb import Cost
    from agfedge.allocate.how import Allocation, Keep
    from agfedge.scores import Scores
    from agfedge_export import ChannelGroups, Plan


# How many choices are measured at most while one is settled.
TRIES = 8


@dataclass(frozen=True)
class Settled:
    """A choice of units, what it was measured to cost, and the plan and graph that it was measured on."""

    keep: Keep
    cost: float
    pruned: tuple[Plan, onnx.ModelProto] | None = None


@dataclass(frozen=True)
class Task:
    """What is to be solved.

    Attributes:
        groups: the analysis.
        scores: raw.
        how: the kind of allocation.
        estimated: what a choice is expected to cost.
        settle: measures a choice.
        limit: that the measured cost may not pass.
        order: groups whose branches may go whole, the first ones first.
    """

    groups: ChannelGroups
    scores: Scores
    how: Allocation
    estimated: Cost
    settle: Callable[[Keep], Settled]
    limit: float
    order: Sequence[str] = ()

    def fits(self, found: Settled) -> bool:
        """Whether a measured choice is within the limit."""
        return found.cost <= self.limit * (1 + SLACK)


def solve(task: Task) -> Settled:
    """Returns the nearest choice to the limit that fits; where none does, the least one, which does not.

    A search by estimate is measured, and repeated with the limit moved by what the estimate was off. Only where its
    result meets conflicts of order (behind chains of channel shuffles) are all rows made to lose the same columns.
    """
    realiser = Realiser(task.groups, task.scores, task.how)
    best: Settled | None = None
    seen: set[tuple[bytes, ...]] = set()
    most, alike = task.limit, False
    for _ in range(TRIES):
        chosen = _search(task, realiser, most)
        if chosen is None:
            break
        keep = without_conflicts(task.groups, task.scores, dict(chosen), task.how)
        if not alike and _key(keep) != _key(chosen):
            realiser, alike = Realiser(task.groups, task.scores, task.how, alike=True), True
            continue
        if _key(chosen) in seen:
            break
        seen.add(_key(chosen))
        made, guess = task.settle(keep), task.estimated(chosen)
        if task.fits(made) and (best is None or made.cost > best.cost):
            best = made
        moved = task.limit * guess / made.cost if made.cost > 0 else most
        most = moved if task.fits(made) else min(moved, guess * (1 - 1e-6))
    return best or _least(task, realiser)


def _search(task: Task, realiser: Realiser, most: float) -> Keep | None:
    climb = Climb(realiser, task.scores, task.estimated, most)
    if task.order:
        return best_with_branches(climb, task.order)
    if task.how.kind == "uniform":
        return best_within(climb, *uniform_ladder(realiser.free, task.how.floor), spend=task.how.align > 1)
    return best_within(climb, *global_ladder(realiser.free, task.scores), spend=True)


def _least(task: Task, realiser: Realiser) -> Settled:
    """Measures the floors, with every branch gone that may go."""
    keep = realiser.keep(realiser.floors, task.order)
    return task.settle(without_conflicts(task.groups, task.scores, dict(keep), task.how))


def _key(keep: Keep) -> tuple[bytes, ...]:
    return tuple(units.tobytes() for units in keep.values())
