"""What scores say, in few numbers: where utility lies, and how far two scores would choose alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from agfedge.scores.inputs import Scores
    from agfedge_export import ChannelGroups


@dataclass(frozen=True)
class GroupUtility:
    """One score of one group.

    Attributes:
        lowest, highest: of its channels.
        total: of all its channels.
        upper_half: share of that total which the better half of its channels holds, 0.5 (all alike) to 1; NaN where
            the total is zero or scores are negative.
    """

    lowest: float
    highest: float
    total: float
    upper_half: float


@dataclass(frozen=True)
class Agreement:
    """Two scores, each keeping half of the channels.

    Attributes:
        first, second: the scores.
        shared: share of the channels kept by the one that the other keeps too; one half by chance.
        lowest_group: the group where it is lowest.
        lowest_shared: that share there.
    """

    first: str
    second: str
    shared: float
    lowest_group: str
    lowest_shared: float


def utility_of(values: NDArray[np.float64]) -> GroupUtility:
    """Sums up the scores of a group, float64 (size,)."""
    total = float(values.sum())
    upper = float(np.sort(values)[len(values) // 2 :].sum())
    share = upper / total if total > 0 and values.min() >= 0 else float("nan")
    return GroupUtility(float(values.min()), float(values.max()), total, share)


def agreements(scores: Mapping[str, Scores], groups: ChannelGroups) -> tuple[Agreement, ...]:
    """Compares every two scores by which half of each group they would keep; groups of one channel say nothing."""
    strata = {group.name: group.strata for group in groups.groups if group.size > 1}
    halves = {
        name: {group: _better_half(each[group], strata[group]) for group in strata} for name, each in scores.items()
    }
    pairs = []
    for first, second in combinations(scores, 2) if strata else ():
        kept = {group: int(halves[first][group].sum()) for group in strata}
        both = {group: int((halves[first][group] & halves[second][group]).sum()) for group in strata}
        shares = {group: both[group] / kept[group] for group in strata}
        lowest = min(shares, key=lambda group: shares[group])
        pairs.append(Agreement(first, second, sum(both.values()) / sum(kept.values()), lowest, shares[lowest]))
    return tuple(pairs)


def _better_half(values: NDArray[np.float64], strata: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Returns which channels are kept, bool (size,): half of every stratum, as a plan keeps them."""
    kept = np.zeros(len(values), dtype=bool)
    for stratum in np.unique(strata):
        own = np.flatnonzero(strata == stratum)
        kept[own[np.argsort(-values[own], kind="stable")[: (len(own) + 1) // 2]]] = True
    return kept
