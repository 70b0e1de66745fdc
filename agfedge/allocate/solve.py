"""The most that stays within a limit, searched by estimate and settled by what is measured.

A search takes the highest rung of a ladder that fits, then single steps where they buy most.

Where a budget of latency leaves no other way, residual branches go whole. A small layer takes a device the time of its
launch however thin it is; only a branch that is gone saves that. Branches go in the order of **utility lost for time
saved**. The utility of a branch is the plain sum of its channels' raw scores: scores such as E|Y dL/dY| are all in
units of the loss, so their sum estimates what zeroing the whole branch costs, and the block's common scale, which
spoils a ranking of channels (arXiv:2605.09008), is here the very thing to compare. Norms of weights have no such unit:
with them the order is cruder. How many go is decided by what then stays: each number of branches leaves a rest of the
budget for the other groups' channels, and the choice with the highest total of raw scores that stay is taken.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from agfedge.allocate.units import Realiser, global_ladder, normalised, uniform_ladder, without_conflicts

if TYPE_CHECKING:
    import onnx

    from agfedge.allocate.allocation import Allocation, Keep
    from agfedge.allocate.units import Ladder
    from agfedge.scores import Scores
    from agfedge_export import ChannelGroups, Group, Plan

    Cost = Callable[[Keep], float]

# The share of a limit by which sums of floats may miss it.
SLACK = 1e-9


@dataclass(frozen=True)
class Climb:
    """What there is to spend, and what on.

    Attributes:
        realiser: makes units of counts.
        scores: raw, of each group.
        cost: of a choice of units; more units cost no less, but for rounding.
        limit: that the cost may not pass.
        gone: groups of which nothing stays.
    """

    realiser: Realiser
    scores: Scores
    cost: Cost
    limit: float
    gone: frozenset[str] = frozenset()

    def fits(self, keep: Keep) -> bool:
        """Whether a choice costs no more than the limit."""
        return self.cost(keep) <= self.limit * (1 + SLACK)

    def keep(self, counts: Mapping[str, int]) -> Keep:
        """Returns the units that stay for these numbers."""
        return self.realiser.keep(counts, self.gone)


def highest(climb: Climb, ladder: Ladder, last: int) -> int | None:
    """Returns the highest rung that fits, or None where none does, taking each to cost no less than one below it."""
    if not climb.fits(climb.keep(ladder(0))):
        return None
    if climb.fits(climb.keep(ladder(last))):
        return last
    return _bisect(0, last, lambda rung: not climb.fits(climb.keep(ladder(rung)))) - 1


def _bisect(low: int, high: int, holds: Callable[[int], bool]) -> int:
    """Returns the first number above `low` for which a condition holds that goes on to hold up to `high`."""
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def spend_rest(climb: Climb, keep: Keep) -> Keep:
    """Spends what is left of the limit, a step of one group after another, on the most utility for its cost.

    A step is the next number of units that a group can keep under its alignment. Utility is of `normalised` scores.
    What a step costs is looked up again before it is taken; a group whose next step does not fit is done.
    """
    order = [group.name for group in climb.realiser.free if group.name not in climb.gone]
    worth = {name: normalised(climb.scores[name]) for name in order}
    counts = {name: len(units) for name, units in keep.items()}
    # -utility for cost, place, the number of units after the step
    waiting: list[tuple[float, int, int]] = []

    def offer(place: int) -> None:
        name = order[place]
        more = climb.realiser.above(name, counts[name])
        if more is None:
            return
        tried = climb.keep({**counts, name: more})
        cost = climb.cost(tried)
        if cost > climb.limit * (1 + SLACK) or len(tried[name]) <= counts[name]:
            return
        gain = float(worth[name][tried[name]].sum() - worth[name][keep[name]].sum())
        heapq.heappush(waiting, (-gain / max(cost - spent, climb.limit * SLACK), place, more))

    spent = climb.cost(keep)
    for place in range(len(order)):
        offer(place)
    while waiting:
        _, place, more = heapq.heappop(waiting)
        tried = climb.keep({**counts, order[place]: more})
        cost = climb.cost(tried)
        if cost > climb.limit * (1 + SLACK):
            continue
        keep, spent = tried, cost
        counts = {name: len(units) for name, units in keep.items()}
        offer(place)
    return keep


def best_within(climb: Climb, ladder: Ladder, last: int, *, spend: bool) -> Keep | None:
    """Returns the most that fits, or None where not even the lowest rung does."""
    rung = highest(climb, ladder, last)
    if rung is None:
        return None
    keep = climb.keep(ladder(rung))
    return spend_rest(climb, keep) if spend else keep


def utility(scores: Scores, keep: Keep, names: Collection[str]) -> float:
    """Returns the raw scores of what stays of these groups."""
    return float(sum(scores[name][keep[name]].sum() for name in names))


# How many numbers of branches are tried at first; then those between the best and its neighbours.
BRANCH_TRIES = 9


def drop_order(
    free: Sequence[Group], scores: Scores, cost: Cost, may_go: Callable[[Collection[str]], bool]
) -> list[str]:
    """Returns the groups whose branches may all go together, the one that is missed least for what it saves first.

    Args:
        free: the groups that may shrink.
        scores: raw.
        cost: estimated, of a choice; groups that are not named are whole.
        may_go: whether branches may go together.
    """
    none = np.zeros(0, dtype=np.int64)
    whole = cost({})
    rated = []
    for place, group in enumerate(free):
        saved = whole - cost({group.name: none}) if group.may_vanish else 0.0
        if saved > 0:
            rated.append((float(scores[group.name].sum()) / saved, place, group.name))
    going: list[str] = []
    for _, _, name in sorted(rated):
        if may_go([*going, name]):
            going.append(name)
    return going


def best_with_branches(climb: Climb, order: Sequence[str]) -> Keep | None:
    """Returns the most useful choice that fits, branches of `order` dropped from its front, or None."""
    names = [group.name for group in climb.realiser.free]
    floors = climb.realiser.floors

    def lowered(number: int) -> Climb:
        return replace(climb, gone=frozenset(order[:number]))

    fewest = _first(len(order), lambda number: lowered(number).fits(lowered(number).keep(floors)))
    if fewest is None:
        return None
    everything = {group.name: group.size for group in climb.realiser.free}
    most = _first(len(order), lambda number: lowered(number).fits(lowered(number).keep(everything)))
    most = len(order) if most is None else max(most, fewest)
    tried: dict[int, tuple[float, Keep]] = {}

    def attempt(numbers: Sequence[int]) -> None:
        for number in numbers:
            at = lowered(number)
            keep = best_within(at, *global_ladder(climb.realiser.free, climb.scores, at.gone), spend=False)
            if keep is not None:
                tried[number] = (utility(climb.scores, keep, names), keep)

    attempt(_spread(fewest, most))
    attempt(_around(tried))
    if not tried:
        return None
    best = min(tried, key=lambda number: (-tried[number][0], number))
    return spend_rest(*_restored(lowered(best), order[:best], tried[best][1]))


def _restored(climb: Climb, dropped: Sequence[str], keep: Keep) -> tuple[Climb, Keep]:
    """Brings back, at their floors, branches that went with the others but for which there is room, the best first."""
    for name in reversed(dropped):
        more = replace(climb, gone=climb.gone - {name})
        tried = more.keep({**{each: len(units) for each, units in keep.items()}, name: climb.realiser.floors[name]})
        if more.fits(tried):
            climb, keep = more, tried
    return climb, keep


def _first(last: int, holds: Callable[[int], bool]) -> int | None:
    """Returns the first number from 0 to `last` for which a condition holds that goes on to hold, or None."""
    return _bisect(-1, last, holds) if holds(last) else None


def _spread(first: int, last: int) -> list[int]:
    return sorted({round(each) for each in np.linspace(first, last, min(BRANCH_TRIES, last - first + 1))})


def _around(tried: Mapping[int, tuple[float, Keep]]) -> list[int]:
    """Returns the numbers between the best one that was tried and its neighbours, at most as many as at first."""
    if not tried:
        return []
    numbers = sorted(tried)
    place = numbers.index(max(numbers, key=lambda number: (tried[number][0], -number)))
    low, high = numbers[max(0, place - 1)], numbers[min(len(numbers) - 1, place + 1)]
    return [number for number in _spread(low, high) if number not in tried]


# How many choices are measured at most while one is settled.
TRIES = 8


@dataclass(frozen=True)
class Settled:
    """A choice of units, what it was measured to cost, and the plan and graph that it was measured on."""

    keep: Keep
    cost: float
    pruned: tuple[Plan, onnx.ModelProto] | None = None


@dataclass(frozen=True)
class Problem:
    """What is to be solved.

    Attributes:
        groups: the analysis.
        scores: raw.
        allocation: its kind, alignment, floors and exceptions.
        estimated: what a choice is expected to cost.
        settle: measures a choice.
        limit: that the measured cost may not pass.
        order: groups whose branches may go whole, the first ones first.
    """

    groups: ChannelGroups
    scores: Scores
    allocation: Allocation
    estimated: Cost
    settle: Callable[[Keep], Settled]
    limit: float
    order: Sequence[str] = ()

    def fits(self, settled: Settled) -> bool:
        """Whether a measured choice is within the limit."""
        return settled.cost <= self.limit * (1 + SLACK)


def solve(problem: Problem) -> Settled:
    """Returns the nearest choice to the limit that fits; where none does, the least one, which does not.

    A search by estimate is measured, and repeated with the limit moved by what the estimate was off. Only where its
    result meets conflicts of order (behind chains of channel shuffles) are all rows made to lose the same columns.
    """
    realiser = Realiser(problem.groups, problem.scores, problem.allocation)
    best: Settled | None = None
    seen: set[tuple[bytes, ...]] = set()
    most, alike = problem.limit, False
    for _ in range(TRIES):
        chosen = _search(problem, realiser, most)
        if chosen is None:
            break
        keep = without_conflicts(problem.groups, problem.scores, dict(chosen), problem.allocation)
        if not alike and _key(keep) != _key(chosen):
            realiser, alike = Realiser(problem.groups, problem.scores, problem.allocation, alike=True), True
            continue
        if _key(chosen) in seen:
            break
        seen.add(_key(chosen))
        made, guess = problem.settle(keep), problem.estimated(chosen)
        if problem.fits(made) and (best is None or made.cost > best.cost):
            best = made
        moved = problem.limit * guess / made.cost if made.cost > 0 else most
        most = moved if problem.fits(made) else min(moved, guess * (1 - 1e-6))
    return best or _least(problem, realiser)


def _search(problem: Problem, realiser: Realiser, most: float) -> Keep | None:
    climb, allocation = Climb(realiser, problem.scores, problem.estimated, most), problem.allocation
    if problem.order:
        return best_with_branches(climb, problem.order)
    if allocation.kind == "uniform":
        return best_within(climb, *uniform_ladder(realiser.free, allocation.floor), spend=allocation.align > 1)
    return best_within(climb, *global_ladder(realiser.free, problem.scores), spend=True)


def _least(problem: Problem, realiser: Realiser) -> Settled:
    """Measures the floors, with every branch gone that may go."""
    keep = realiser.keep(realiser.floors, problem.order)
    return problem.settle(without_conflicts(problem.groups, problem.scores, dict(keep), problem.allocation))


def _key(keep: Keep) -> tuple[bytes, ...]:
    return tuple(units.tobytes() for units in keep.values())
