"""`allocate`: scores in, indices out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agfedge.allocate.how import Allocation, check_allocation
from agfedge.allocate.solve import Settled, Task, solve
from agfedge.allocate.units import group_units, without_conflicts
from agfedge_runtime.errors import InputError

if TYPE_CHECKING:
    from agfedge.allocate.how import Keep
    from agfedge.scores import Scores
    from agfedge_export import ChannelGroups


def uniform_keep(groups: ChannelGroups, scores: Scores, keep: float) -> Keep:
    """Keeps the same share of every group; see `allocate`."""
    return allocate(groups, scores, Allocation(keep))


def allocate(groups: ChannelGroups, scores: Scores, how: Allocation) -> Keep:
    """Keeps the best units, at least one along every axis of a parameter.

    Uniform: each group keeps the number nearest to its share. Global: the best units of all groups stay, by normalised
    scores, never more than the share of all units, and of no group less than its floor.

    Args:
        groups: the analysis.
        scores: for each group that is not left alone float64 (size,), higher is worth more.
        how: shares, alignment and exceptions.

    Returns:
        For each group that is not left alone the units that stay, ascending, int64. Equal scores keep the lower unit.

    Raises:
        InputError: a share, a count or the alignment is out of range, or floors and alignment ask for more.
    """
    check_allocation(how)
    if how.kind == "global":
        return _competing(groups, scores, how)
    keep = {
        group.name: group_units(group, scores[group.name], how.per_group.get(group.name, how.keep), how.align)
        for group in groups.groups
        if group.name not in how.whole
    }
    return without_conflicts(groups, scores, keep, how)


def _competing(groups: ChannelGroups, scores: Scores, how: Allocation) -> Keep:
    total = sum(group.size for group in groups.groups if group.name not in how.whole)
    task = Task(groups, scores, how, width, lambda keep: Settled(keep, width(keep)), how.keep * total)
    found = solve(task)
    if not task.fits(found):
        raise InputError(
            f"--keep {how.keep} cannot be met: floors (--floor {how.floor}) and alignment leave "
            f"{found.cost / total:.3f} at least"
        )
    return found.keep


def width(keep: Keep) -> float:
    """Returns how many units stay."""
    return float(sum(len(units) for units in keep.values()))
