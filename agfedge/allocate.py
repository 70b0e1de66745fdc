"""Allocation: how many channels of each group stay, and which. Pure: scores in, indices out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from agfedge_export import order_conflicts
from agfedge_export.balance import aligned_units, balanced_units
from agfedge_runtime.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from agfedge.scores import Scores
    from agfedge_export import ChannelGroups, Group

    Keep = Mapping[str, NDArray[np.int64]]
    # Scores and how many units are to stay; and what chooses units of a group by scores and a share.
    Try = tuple[NDArray[np.float64], int]
    Choose = Callable[[Group, NDArray[np.float64], float], NDArray[np.int64]]


# How many steps of the longest axis are tried around what is wanted, where several constraints must be met at once: an
# axis a quarter as long, behind a shuffle, then has a multiple in reach, and one of attention heads moves nothing.
STEPS = 4


@dataclass(frozen=True)
class Allocation:
    """How much of a model stays.

    Attributes:
        keep: share of every group's units that stays, in (0, 1].
        align: what stays along every axis of a parameter is a multiple of this, as far as the group allows.
        per_group: for a group's name another share in (0, 1] (float), or a number of units (int), which is not aligned.
        whole: names of the groups that are left alone.
    """

    keep: float = 0.5
    align: int = 1
    per_group: Mapping[str, float | int] = field(default_factory=dict)
    whole: frozenset[str] = frozenset()


def uniform_keep(groups: ChannelGroups, scores: Scores, keep: float) -> Keep:
    """Keeps the same share of every group; see `allocate`."""
    return allocate(groups, scores, Allocation(keep))


def allocate(groups: ChannelGroups, scores: Scores, how: Allocation) -> Keep:
    """Keeps the best units of every group, at least one along every axis of a parameter.

    Args:
        groups: the analysis.
        scores: for each group that is not left alone float64 (size,), higher is worth more; only scores of one group
            are compared.
        how: shares, alignment and exceptions.

    Returns:
        For each group that is not left alone the units that stay, ascending, int64. Equal scores keep the lower unit.

    Raises:
        InputError: a share, a count or the alignment is out of range.
    """
    check_allocation(how)
    keep = {
        group.name: _units(group, scores[group.name], how) for group in groups.groups if group.name not in how.whole
    }
    return _without_conflicts(groups, scores, keep, how)


def _without_conflicts(
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
            tries = _tries(group, wanted, scores[group.name], align)
            keep[group.name] = _least_ragged(aligned_units, group, tries, align)
    left = order_conflicts(groups, keep)
    while left:
        whole = [group for group in spread if len(keep[group.name]) < group.size]
        for group in [each for each in whole if each.name in left] or whole:
            keep[group.name] = np.arange(group.size)
        left = order_conflicts(groups, keep) if whole else set()
    return keep


def check_allocation(how: Allocation) -> None:
    """Refuses shares, counts and alignments that mean nothing.

    Raises:
        InputError: names the option or the group, what it is and what was expected.
    """
    if not 0 < how.keep <= 1:
        raise InputError(f"--keep is {how.keep}: expected a share in (0, 1], such as 0.5")
    if how.align < 1:
        raise InputError(f"--align is {how.align}: expected 1 or more, such as 8")
    for name, value in how.per_group.items():
        if not (value >= 0 if isinstance(value, int) else 0 < value <= 1):
            raise InputError(
                f"group {name!r} is to keep {value}: expected a share in (0, 1] such as 0.25, or a number of channels"
            )


def _units(group: Group, scores: NDArray[np.float64], how: Allocation) -> NDArray[np.int64]:
    wanted = how.per_group.get(group.name, how.keep)
    counted = isinstance(wanted, int)
    share = wanted / group.size if counted else wanted
    if share > 1:
        raise InputError(f"group {group.name!r} is to keep {wanted} channels: it has {group.size}")
    if share in (0, 1):
        return np.arange(group.size if share else 0, dtype=np.int64)
    kinds, kind_of = _kinds(group)
    sizes = np.bincount(kind_of, minlength=len(kinds))
    align = 1 if counted else how.align
    counts = _counts(kinds, sizes, share, align)
    if group.joints or group.rows:
        return _balanced(group, scores, int(counts.sum()), align)
    ranked = np.argsort(-scores, kind="stable")
    best = [ranked[kind_of[ranked] == kind][:count] for kind, count in enumerate(counts)]
    return np.sort(np.concatenate(best))


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
