"""Which residual branches go whole, where a budget of latency leaves no other way.

A small layer takes a device the time of its launch however thin it is; only a branch that is gone saves that. Branches
go in the order of **utility lost for time saved**. The utility of a branch is the plain sum of its channels' raw
scores: scores such as E|Y dL/dY| are all in units of the loss, so their sum estimates what zeroing the whole branch
costs, and the block's common scale, which spoils a ranking of channels (arXiv:2605.09008), is here the very thing to
compare. Norms of weights have no such unit: with them the order is cruder.

How many go is decided by what then stays: each number of branches leaves a rest of the budget for the other groups'
channels, and the choice with the highest total of raw scores that stay is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from agfedge.allocate.climb import Climb, best_within, spend_rest, utility
from agfedge.allocate.ladder import global_ladder

if TYPE_CHECKING:
    from agfedge.allocate.estimate import Estimate
    from agfedge.allocate.how import Keep
    from agfedge.scores import Scores
    from agfedge_export import Group


# How many numbers of branches are tried at first; then those between the best and its neighbours.
TRIES = 9


def drop_order(free: Sequence[Group], scores: Scores, cost: Callable[[Keep], float], estimate: Estimate) -> list[str]:
    """Returns the groups whose branches may all go together, the one that is missed least for what it saves first.

    Args:
        free: the groups that may shrink.
        scores: raw.
        cost: estimated, of a choice; groups that are not named are whole.
        estimate: which branches may go together.
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
        if estimate.may_go([*going, name]):
            going.append(name)
    return going


def best_with_branches(climb: Climb, order: Sequence[str]) -> Keep | None:
    """Returns the most useful choice that fits, branches of `order` dropped from its front, or None."""
    names = [group.name for group in climb.realiser.free]
    floors = climb.realiser.floors

    def lowered(number: int) -> Climb:
        return replace(climb, gone=frozenset(order[:number]))

    def choice(number: int) -> Keep | None:
        at = lowered(number)
        return best_within(at, *global_ladder(climb.realiser.free, climb.scores, at.gone), spend=False)

    fewest = _first(len(order), lambda number: lowered(number).fits(lowered(number).keep(floors)))
    if fewest is None:
        return None
    everything = {group.name: group.size for group in climb.realiser.free}
    most = _first(len(order), lambda number: lowered(number).fits(lowered(number).keep(everything)))
    most = len(order) if most is None else max(most, fewest)
    tried: dict[int, tuple[float, Keep]] = {}
    for wanted in (_spread(fewest, most), None):
        numbers = _around(tried) if wanted is None else wanted
        for number in numbers:
            keep = choice(number)
            if keep is not None and number not in tried:
                tried[number] = (utility(climb.scores, keep, names), keep)
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
    if not holds(last):
        return None
    low, high = -1, last
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def _spread(first: int, last: int) -> list[int]:
    return sorted({round(each) for each in np.linspace(first, last, min(TRIES, last - first + 1))})


def _around(tried: Mapping[int, tuple[float, Keep]]) -> list[int]:
    """Returns the numbers between the best one that was tried and its neighbours, at most as many as at first."""
    if not tried:
        return []
    numbers = sorted(tried)
    place = numbers.index(max(numbers, key=lambda number: (tried[number][0], -number)))
    low, high = numbers[max(0, place - 1)], numbers[min(len(numbers) - 1, place + 1)]
    return [number for number in _spread(low, high) if number not in tried]
