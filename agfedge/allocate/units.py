"""Which units of one group stay, given how many: the best, in equal numbers wherever a tensor must stay rectangular."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from agfedge_export import order_conflicts
from agfedge_export.channels.balance import aligned_units, balanced_units
from agfedge_runtime.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from agfedge.allocate.how import Allocation, Keep
    from agfedge.scores import Scores
    from agfedge_export import ChannelGroups, Group

    # Scores and how many units are to stay; and what chooses units of a group by scores and a share.
    Try = tuple[NDArray[np.float64], int]
    Choose = Callable[[Group, NDArray[np.float64], float], NDArray[np.int64]]

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
    groups: ChannelGroups, scores: Scores, keep: dict[str, NDArray[np.int64]], how: Allocation
) -> Keep:
    """Behind a chain of channel shuffles every row has to lose the same columns; what still conflicts stays whole."""
    spread = [group for group in groups.groups if group.joints and group.name in keep]
    if not spread or not order_conflicts(groups, keep):
        return keep
    for group in spread:
        wanted = len(keep[group.name])
        if 0 < wanted < group.size:
            align = 1 if isinstance(how.per_group.get(group.name), int) else how.align
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
