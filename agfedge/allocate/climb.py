"""The most that stays within a limit: the highest rung of a ladder, then single steps where they buy most."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agfedge.allocate.ladder import Realiser, normalised

if TYPE_CHECKING:
    from agfedge.allocate.how import Keep
    from agfedge.allocate.ladder import Ladder
    from agfedge.scores import Scores

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
    low, high = 0, last
    while high - low > 1:
        middle = (low + high) // 2
        if climb.fits(climb.keep(ladder(middle))):
            low = middle
        else:
            high = middle
    return low


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
