"""Which units stay: of one group, given how many, and of all, on the ways up from the least to everything.

The best of a group stay, in equal numbers wherever a tensor must stay rectangular.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from math import ceil
from typing import TYPE_CHECKING

import numpy as np

from agfedge_export import order_conflicts
from agfedge_export.channels.balance import aligned_units, balanced_units
from agfedge_runtime.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from agfedge.allocate.allocation import Allocation, Keep
    from agfedge.scores import Scores
    from agfedge_export import ChannelGroups, Group

    # Scores and how many units are to stay; and what chooses units of a group by scores and a share.
    Try = tuple[NDArray[np.float64], int]
    Choose = Callable[[Group, NDArray[np.float64], float], NDArray[np.int64]]
    Counts = Mapping[str, int]
    # A rung of a ladder -> how many units of each group are wanted; more on every rung.
    Ladder = Callable[[int], Counts]

# How many steps of the longest axis are tried around what is wanted, where several constraints must be met at once: an
# axis a quarter as long, behind a shuffle, then has a multiple in reach, and one of attention heads moves nothing.
STEPS = 4


def group_units(
    group: Group, scores: NDArray[np.float64], wanted: float | int, align: int = 1, *, alike: bool = False
) -> NDArray[np.int64]:
    """Returns the units of a group that stay, ascending, int64.

    Args:
        group: with its constraints.
        scores: float64 (size,), higher is worth more; equal scores keep the lower unit.
        wanted: a share in (0, 1] (float), which is aligned, or a number of units (int), which is not.
        align: what stays along every axis of a parameter is a multiple of this, as far as the group allows.
        alike: whether all rows of channels that are spread along several axes lose the same columns, as behind a chain
            of channel shuffles.

    Raises:
        InputError: the group has fewer units.
    """
    counted = isinstance(wanted, int)
    share = wanted / group.size if counted else wanted
    if share > 1:
        raise InputError(f"group {group.name!r} is to keep {wanted} channels: it has {group.size}")
    if share in (0, 1):
        return np.arange(group.size if share else 0, dtype=np.int64)
    kinds, kind_of = _kinds(group)
    sizes = np.bincount(kind_of, minlength=len(kinds))
    align = 1 if counted else align
    counts = _counts(kinds, sizes, share, align)
    if group.joints and alike:
        return _alike(group, scores, int(counts.sum()), align)
    if group.joints or group.rows:
        return _balanced(group, scores, int(counts.sum()), align)
    ranked = np.argsort(-scores, kind="stable")
    best = [ranked[kind_of[ranked] == kind][:count] for kind, count in enumerate(counts)]
    return np.sort(np.concatenate(best))


def without_conflicts(
    groups: ChannelGroups, scores: Scores, keep: dict[str, NDArray[np.int64]], allocation: Allocation
) -> Keep:
    """Behind a chain of channel shuffles every row has to lose the same columns; what still conflicts stays whole."""
    spread = [group for group in groups.groups if group.joints and group.name in keep]
    if not spread or not order_conflicts(groups, keep):
        return keep
    for group in spread:
        wanted = len(keep[group.name])
        if 0 < wanted < group.size:
            align = 1 if isinstance(allocation.per_group.get(group.name), int) else allocation.align
            keep[group.name] = _alike(group, scores[group.name], wanted, align)
    left = order_conflicts(groups, keep)
    while left:
        whole = [group for group in spread if len(keep[group.name]) < group.size]
        for group in [each for each in whole if each.name in left] or whole:
            keep[group.name] = np.arange(group.size)
        left = order_conflicts(groups, keep) if whole else set()
    return keep


def _kinds(group: Group) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Sorts the units by what removing one takes from each axis: finer than `Group.strata`, which says whether.

    Returns:
        int64 (kinds, axes), the indices that a unit of this kind has along each axis; and int64 (size,), each unit's.
    """
    columns = {np.bincount(each.units[each.units >= 0], minlength=group.size).tobytes() for each in group.members}
    table = np.array([np.frombuffer(each, dtype=np.int64) for each in sorted(columns)], dtype=np.int64)
    kinds, kind_of = np.unique(table.reshape(-1, group.size).T, axis=0, return_inverse=True)
    return kinds, kind_of.astype(np.int64).ravel()


def _counts(along: NDArray[np.int64], sizes: NDArray[np.int64], share: float, align: int) -> NDArray[np.int64]:
    """Chooses how many units of each kind stay.

    A narrow stage shares its channels with the wider ones: kinds are decided from those that most axes share to those
    that one axis has alone, each such that what was decided so far comes closest to its share. An axis is rounded where
    its last kind is decided. Half a step rounds up.

    Args:
        along: (kinds, axes), as of `_kinds`.
        sizes: (kinds,), how many units there are.
        share: of the units, in (0, 1).
        align: what stays along an axis is a multiple of this; an axis that is shorter stays whole.
    """
    counts = np.zeros(len(sizes), dtype=np.int64)
    undecided = np.ones(len(sizes), dtype=bool)
    totals, wanted = sizes @ along, 0.0
    for kind in np.argsort(-(along > 0).sum(axis=1), kind="stable"):
        undecided[kind] = False
        wanted += share * sizes[kind]
        options = np.arange(sizes[kind] + 1)
        closed = (along[kind] > 0) & ~(along[undecided] > 0).any(axis=0)
        stays = (counts @ along)[closed] + np.outer(options, along[kind, closed])
        below = (stays < np.minimum(align, totals[closed])).sum(axis=1)
        ragged = ((stays % align != 0) & (totals[closed] >= align)).sum(axis=1) if closed.any() else options % align > 0
        distance = np.abs(options - (wanted - counts.sum())).round(9)
        counts[kind] = np.lexsort((-options, distance, ragged, below))[0]
    return counts


def _balanced(group: Group, scores: NDArray[np.float64], wanted: int, align: int) -> NDArray[np.int64]:
    """Chooses where units must stay in equal numbers: attention heads, the halves of a channel shuffle."""
    tries = _tries(group, wanted, scores, align)
    if align > 1 and not group.rows:
        tries += _tries(group, wanted, _levelled(group, scores), align)
    return _least_ragged(balanced_units, group, tries, align)


def _alike(group: Group, scores: NDArray[np.float64], wanted: int, align: int) -> NDArray[np.int64]:
    """Chooses where every row must lose the same columns."""
    return _least_ragged(aligned_units, group, _tries(group, wanted, scores, align), align)


def _tries(group: Group, wanted: int, scores: NDArray[np.float64], align: int) -> list[Try]:
    """Lists numbers of units to try, the nearest to what is wanted first: one for each index of the longest axis."""
    if align == 1:
        return [(scores, wanted)]
    longest = int(_along(group).sum(axis=0).max())
    counts = {wanted, *(max(1, round(index * group.size / longest)) for index in range(1, longest + 1))}
    near = [count for count in counts if abs(count - wanted) <= STEPS * align * group.size / longest]
    return [(scores, count) for count in sorted(near, key=lambda count: (abs(count - wanted), -count))]


def _least_ragged(choose: Choose, group: Group, tries: list[Try], align: int) -> NDArray[np.int64]:
    """Returns the first choice that leaves a multiple of `align` along every axis, or along as many as there may be.

    Axes shorter than `align` do not count: they may be of whole heads.
    """
    along = _along(group)
    fewest, best = along.shape[1] + 1, np.arange(group.size)
    for scores, count in tries:
        units = choose(group, scores, count / group.size)
        stays = along[units].sum(axis=0)
        ragged = int(((stays % align > 0) & (along.sum(axis=0) >= align)).sum())
        if ragged < fewest:
            fewest, best = ragged, units
        if not fewest:
            break
    return best


def _along(group: Group) -> NDArray[np.int64]:
    """Returns how many indices each unit has along each distinct axis, int64 (group.size, axes)."""
    kinds, kind_of = _kinds(group)
    return kinds[kind_of]


def _levelled(group: Group, scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Replaces each score by its rank among the units of the same rows and axes: all of those then lose alike."""
    columns = [_along(group)]
    for joint in group.joints:
        rows = joint.reshape(-1, joint.shape[-1])
        row_of = np.full((group.size, 1), -1, dtype=np.int64)
        for number, row in enumerate(rows):
            row_of[row[row >= 0]] = number
        columns.append(row_of)
    cell_of = np.unique(np.hstack(columns), axis=0, return_inverse=True)[1].ravel()
    levelled = np.zeros(group.size)
    for cell in range(int(cell_of.max()) + 1):
        inside = np.flatnonzero(cell_of == cell)
        levelled[inside[np.argsort(scores[inside], kind="stable")]] = np.arange(1, len(inside) + 1) / len(inside)
    return levelled


def normalised(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Divides a group's scores by their mean magnitude, so that they can compete with other groups' (float64)."""
    scale = float(np.abs(scores).mean()) if len(scores) else 0.0
    return scores / scale if scale > 0 else np.zeros(len(scores))


class Realiser:
    """Chooses the units of each group, and remembers what it chose.

    Args:
        groups: the analysis.
        scores: raw, of each group that is not left alone.
        allocation: alignment, floors and exceptions.
        alike: as of `group_units`.

    Attributes:
        free: the groups whose numbers of units are to be found: neither left alone nor given by `allocation.per_group`.
    """

    def __init__(self, groups: ChannelGroups, scores: Scores, allocation: Allocation, *, alike: bool = False) -> None:
        self._scores, self._allocation, self._alike = scores, allocation, alike
        chosen = [group for group in groups.groups if group.name not in allocation.whole]
        self.free = tuple(group for group in chosen if group.name not in allocation.per_group)
        self._fixed = {
            group.name: self._best(group, allocation.per_group[group.name])
            for group in chosen
            if group.name in allocation.per_group
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
        keep = dict(self._fixed)
        for group in self.free:
            none = np.zeros(0, dtype=np.int64)
            keep[group.name] = none if group.name in gone else self.at_most(group.name, counts[group.name])
        return {name: keep[name] for name in self._chosen}

    def at_most(self, name: str, count: int) -> NDArray[np.int64]:
        """Returns the most units that a group can keep of `count`, rounded down to what its alignment allows."""
        floor = self.floors[name]
        ask, units = count, self._units(name, count)
        step = max(1, self._allocation.align // 2)
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
        wanted = max(1, ceil(self._allocation.floor * group.size - 1e-9))
        got = len(self._units(group.name, wanted))
        if got >= wanted:
            return got if len(self._units(group.name, got)) == got else group.size
        return self.above(group.name, wanted) or group.size

    def _units(self, name: str, count: int) -> NDArray[np.int64]:
        if (name, count) not in self._made:
            group = self._by_name[name]
            self._made[name, count] = self._best(group, min(1.0, count / group.size))
        return self._made[name, count]

    def _best(self, group: Group, wanted: float | int) -> NDArray[np.int64]:
        return group_units(group, self._scores[group.name], wanted, self._allocation.align, alike=self._alike)


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
