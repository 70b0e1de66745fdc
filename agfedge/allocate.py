"""Allocation: how many channels of each group stay, and which. Pure: scores in, indices out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agfedge_runtime.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from agfedge.scores import Scores
    from agfedge_export import ChannelGroups, Group


def uniform_keep(groups: ChannelGroups, scores: Scores, keep: float) -> Mapping[str, NDArray[np.int64]]:
    """Keeps the same share of every group: its best channels, at least one along every axis.

    Args:
        groups: the analysis.
        scores: for each group float64 (size,), higher is worth more; only scores of one group are compared.
        keep: share of the channels that stay, in (0, 1].

    Returns:
        For each group the units that stay, ascending, int64. Equal scores keep the lower unit.

    Raises:
        InputError: `keep` is outside (0, 1].
    """
    if not 0 < keep <= 1:
        raise InputError(f"--keep is {keep}: expected a share in (0, 1], such as 0.5")
    return {group.name: _best(group, scores[group.name], max(1, round(keep * group.size))) for group in groups.groups}


def _best(group: Group, scores: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """Picks `count` units: from each stratum its share of best ones, the remainder by score.

    A narrow stage shares its channels with the wider ones; without the shares, it could lose all of them.
    """
    ranked = np.argsort(-scores, kind="stable")
    stays = np.zeros(group.size, dtype=bool)
    for stratum in np.unique(group.strata):
        inside = ranked[group.strata[ranked] == stratum]
        stays[inside[: count * len(inside) // group.size]] = True
    rest = ranked[~stays[ranked]]
    stays[rest[: count - int(stays.sum())]] = True
    for member in group.members:
        along = np.unique(member.units[member.units >= 0])
        if not stays[along].any() and (member.units >= 0).all():
            stays[along[np.argmax(scores[along])]] = True
    return np.flatnonzero(stays)
