"""Constraints between the channels of a group: what a plan must satisfy, and a choice of units that does.

A tensor whose channels are spread over several axes (attention heads and their dimensions, the halves of a channel
shuffle) stays rectangular only where every row that stays keeps equally many columns.
"""

from __future__ import annotations

from collections import Counter
from math import gcd
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from agfedge_export.channels.groups import Group


def violation(group: Group, stays: NDArray[np.bool_]) -> str | None:
    """Says which constraint a choice breaks, or None.

    Args:
        group: with its joints and rows.
        stays: bool (group.size,), the units that stay.
    """
    for joint in group.joints:
        counts = _row_counts(joint, stays)
        if counts.size == 0 or (counts != counts.flat[0]).any():
            kept = sorted(set(counts.ravel().tolist()))
            return f"rows of {joint.shape[-1]} channels would keep {kept} of them: keep equally many"
    for rows in group.rows:
        gone = {not _kept(units, stays).any() for units in rows.sets}
        if len(gone) > 1:
            return "a head would lose all its query and key dimensions, or all its value dimensions, but not both"
        if rows.fixed and True in gone:
            return "a row of channels would go as a whole, which meets a tensor of fixed size"
    return None


def _kept(units: NDArray[np.int64], stays: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return (units < 0) | stays[units]


def _row_counts(joint: NDArray[np.int64], stays: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Returns how many columns each row keeps, without the slices of rows that are gone."""
    kept = _kept(joint, stays)
    for axis in range(joint.ndim - 1):
        others = tuple(each for each in range(joint.ndim) if each != axis)
        kept = np.compress(kept.any(axis=others), kept, axis=axis)
    counts: NDArray[np.int64] = kept.sum(axis=-1)
    return counts


def balanced_units(group: Group, scores: NDArray[np.float64], share: float) -> NDArray[np.int64]:
    """Chooses units of a group with constraints: whole heads first, then equally many columns of every row.

    Args:
        group: with joints or rows.
        scores: float64 (group.size,), higher is worth more.
        share: of the units that stay, in (0, 1].

    Returns:
        The units that stay, ascending. All of them where no choice of that share satisfies the constraints.
    """
    stays, rest = _without_heads(group, scores, share)
    decided = ~stays
    for joint in group.joints:
        if not _level(joint, scores, rest, stays, decided):
            return np.arange(group.size)
    for stratum in np.unique(group.strata[~decided]):
        inside = np.flatnonzero((group.strata == stratum) & ~decided)
        ranked = inside[np.argsort(-scores[inside], kind="stable")]
        stays[ranked[max(1, round(rest * len(ranked))) :]] = False
    return np.flatnonzero(stays) if stays.any() and violation(group, stays) is None else np.arange(group.size)


def aligned_units(group: Group, scores: NDArray[np.float64], share: float) -> NDArray[np.int64]:
    """Chooses units so that all rows of each joint lose the same columns: what a chain of channel shuffles asks for.

    Same arguments and result as `balanced_units`. Columns that are tied so are judged by their mean score.
    """
    cluster = _tied_columns(group)
    names, number, sizes = np.unique(cluster, return_inverse=True, return_counts=True)
    worth = np.bincount(number, weights=scores) / sizes
    stays = np.ones(group.size, dtype=bool)
    budget = group.size - max(1, round(share * group.size))
    for index in np.argsort(worth, kind="stable"):
        if names[index] < 0 or sizes[index] > budget:
            continue
        stays[number == index] = False
        if violation(group, stays) is None and _everywhere(group, stays):
            budget -= int(sizes[index])
        else:
            stays[number == index] = True
    return np.flatnonzero(stays)


def _tied_columns(group: Group) -> NDArray[np.int64]:
    """Numbers the sets of units that columns tie together; -1 where one of them is kept whole."""
    cluster = np.arange(group.size)
    changed = True
    while changed:
        changed = False
        for joint in group.joints:
            rows = joint.reshape(-1, joint.shape[-1])
            labels = np.where(rows < 0, -1, cluster[rows])
            lowest = labels.min(axis=0)
            if (labels != lowest).any():
                for row in rows:
                    np.minimum.at(cluster, row[row >= 0], lowest[row >= 0])
                changed = True
    return cluster


def _everywhere(group: Group, stays: NDArray[np.bool_]) -> bool:
    """Whether every axis that the group covers keeps a channel."""
    return all((member.units < 0).any() or bool(stays[member.units].any()) for member in group.members)


def _without_heads(group: Group, scores: NDArray[np.float64], share: float) -> tuple[NDArray[np.bool_], float]:
    """Drops the worst heads; returns what stays and the share that each of the other heads has to keep."""
    stays = np.ones(group.size, dtype=bool)
    heads = _heads(group)
    if len(heads) < 2:
        return stays, share
    count = max(1, int(np.ceil(share * len(heads) - 1e-9)))
    worth = np.array([scores[head].sum() for head in heads])
    for index in np.argsort(-worth, kind="stable")[count:]:
        stays[heads[index]] = False
    return stays, min(1.0, share * len(heads) / count)


def _heads(group: Group) -> list[NDArray[np.int64]]:
    """Returns the units of each head that can go alone: heads that share units (rotated alike, say) cannot."""
    together = {tuple(np.unique(np.concatenate(rows.sets)).tolist()) for rows in group.rows if len(rows.sets) > 1}
    fixed = [set(units.tolist()) for rows in group.rows if rows.fixed for units in rows.sets]
    heads: list[tuple[int, ...]] = []
    for units in sorted(together, key=lambda units: (-len(units), units)):
        if not any(set(units) <= set(head) for head in heads):  # a row within a head is no head of its own
            heads.append(units)
    owners = Counter(unit for head in heads for unit in head)
    alone = [set(head) for head in heads if all(owners[unit] == 1 for unit in head)]
    return [np.array(sorted(head)) for head in alone if not any(row <= head for row in fixed)]


def _level(
    joint: NDArray[np.int64],
    scores: NDArray[np.float64],
    share: float,
    stays: NDArray[np.bool_],
    decided: NDArray[np.bool_],
) -> bool:
    """Makes the rows of one joint keep equally many columns; changes `stays` and `decided`; False where it cannot."""
    rows = [row for row in joint.reshape(-1, joint.shape[-1]) if _kept(row, stays).any()]
    if all(len(np.unique(row)) == 1 for row in rows):
        return True  # every row is one unit and goes as a whole
    is_open = [(row >= 0) & ~decided[row] for row in rows]
    certain = [int((_kept(row, stays) & ~mask).sum()) for row, mask in zip(rows, is_open, strict=True)]
    free = [int(mask.sum()) for mask in is_open]
    settled = {count for count, more in zip(certain, free, strict=True) if not more}
    if len(settled) > 1:
        return False
    wished = round(float(np.mean(certain)) + share * float(np.mean(free)))
    if settled:
        target = settled.pop()
    else:
        # Units that have several columns of a row (rotated pairs) make steps of as many.
        step = gcd(*(int(each) for row, mask in zip(rows, is_open, strict=True) for each in _columns(row[mask])))
        first = max(certain)
        target = first + step * max(0 if first else 1, round((wished - first) / step))
    return all(_fill(row, target, scores, stays, decided) for row in rows)


def _columns(units: NDArray[np.int64]) -> NDArray[np.int64]:
    """Returns how many columns each unit has in a row."""
    return np.unique(units, return_counts=True)[1]


def _fill(
    row: NDArray[np.int64],
    target: int,
    scores: NDArray[np.float64],
    stays: NDArray[np.bool_],
    decided: NDArray[np.bool_],
) -> bool:
    """Decides a row's open units so that it keeps `target` columns, the best ones; False where it cannot."""
    open_units = np.unique(row[(row >= 0) & ~decided[row]])
    count = int((_kept(row, stays) & ((row < 0) | decided[row])).sum())
    for unit in open_units[np.argsort(-scores[open_units], kind="stable")]:
        columns = int((row == unit).sum())
        stays[unit] = count + columns <= target
        count += columns if stays[unit] else 0
    decided[open_units] = True
    return count == target
