"""From how many units of each group are wanted to which ones stay, and the ways up from the least to all."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from math import ceil
from typing import TYPE_CHECKING

import numpy as np

from agfedge.allocate.units import group_units

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from agfedge.allocate.how import Allocation, Keep
    from agfedge.scores import Scores
    from agfedge_export import ChannelGroups, Group

    Counts = Mapping[str, int]
    # A rung of a ladder -> how many units of each group are wanted; more on every rung.
    Ladder = Callable[[int], Counts]


def normalised(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Divides a group's scores by their mean magnitude, so that they can compete with other groups' (float64)."""
    scale = float(np.abs(scores).mean()) if len(scores) else 0.0
    return scores / scale if scale > 0 else np.zeros(len(scores))


class Realiser:
    """Chooses the units of each group, and remembers what it chose.

    Args:
        groups: the analysis.
        scores: raw, of each group that is not left alone.
        how: alignment, floors and exceptions.
        alike: as of `group_units`.

    Attributes:
        free: the groups whose numbers of units are to be found: neither left alone nor given by `how.per_group`.
    """

    def __init__(self, groups: ChannelGroups, scores: Scores, how: Allocation, *, alike: bool = False) -> None:
        self._scores, self._how, self._alike = scores, how, alike
        chosen = [group for group in groups.groups if group.name not in how.whole]
        self.free = tuple(group for group in chosen if group.name not in how.per_group)
        self._fixed = {
            group.name: group_units(group, scores[group.name], how.per_group[group.name], how.align, alike=alike)
            for group in chosen
            if group.name in how.per_group
        }
        self._chosen = [group.name for group in chosen]
        self._by_name = {group.name: group for group in chosen}
        self._made: dict[tuple[str, int], NDArray[np.int64]] = {}
        self.floors = {group.name: self._floor(group) for group in self.free}

    def keep(self, counts: Counts, gone: Collection[str] = ()) -> Keep:
        """Returns the units that stay where each free group keeps at most so many, and at least its floor.

        Args:
            counts: for each free group the units wanted.
            gone: the groups of which nothing stays.
        """
        found = dict(self._fixed)
        for group in self.free:
            none = np.zeros(0, dtype=np.int64)
            found[group.name] = none if group.name in gone else self.at_most(group.name, counts[group.name])
        return {name: found[name] for name in self._chosen}

    def at_most(self, name: str, count: int) -> NDArray[np.int64]:
        """Returns the most units that a group can keep of `count`, rounded down to what its alignment allows."""
        floor = self.floors[name]
        ask, units = count, self._units(name, count)
        step = max(1, self._how.align // 2)
        while len(units) > count and ask > floor:
            ask, step = max(floor, ask - step), 2 * step
            units = self._units(name, ask)
        return units if floor <= len(units) <= count else self._units(name, floor)

    def above(self, name: str, count: int) -> int | None:
        """Returns the next number of units above `count` that a group can keep, or None where it keeps all."""
        size, step = self._by_name[name].size, 1
        while count + step < size:
            more = len(self._units(name, count + step))
            if more > count:
                return more if len(self._units(name, more)) == more else size
            step *= 2
        return size if count < size else None

    def _floor(self, group: Group) -> int:
        """Returns the least number of units that a group can keep which is no less than its floor."""
        wanted = max(1, ceil(self._how.floor * group.size - 1e-9))
        got = len(self._units(group.name, wanted))
        if got >= wanted:
            return got if len(self._units(group.name, got)) == got else group.size
        return self.above(group.name, wanted) or group.size

    def _units(self, name: str, count: int) -> NDArray[np.int64]:
        if (name, count) not in self._made:
            group = self._by_name[name]
            share = min(1.0, count / group.size)
            self._made[name, count] = group_units(group, self._scores[name], share, self._how.align, alike=self._alike)
        return self._made[name, count]


def uniform_ladder(free: Collection[Group], floor: float) -> tuple[Ladder, int]:
    """Returns rungs on which all groups keep the same share, from the floor to all, and the number of the last."""
    last = max([1000, *(4 * group.size for group in free)])

    def counts(rung: int) -> Counts:
        share = floor + (1 - floor) * rung / last
        return {group.name: max(1, int(share * group.size + 0.5)) for group in free}

    return counts, last


def global_ladder(free: Collection[Group], scores: Scores, gone: Collection[str] = ()) -> tuple[Ladder, int]:
    """Returns rungs on which the best units of all groups stay, one more on each, and the number of the last.

    Units are ranked by `normalised` scores; the rung is the threshold.
    """
    names = [group.name for group in free]
    values = [normalised(scores[name]) for name in names if name not in gone]
    owners = [np.full(len(scores[name]), index) for index, name in enumerate(names) if name not in gone]
    ranked = np.argsort(-np.concatenate([*values, np.zeros(0)]), kind="stable")
    owner = np.concatenate([*owners, np.zeros(0, dtype=np.int64)]).astype(np.int64)[ranked]

    def counts(rung: int) -> Counts:
        return dict(zip(names, np.bincount(owner[:rung], minlength=len(names)).tolist(), strict=True))

    return counts, len(owner)
