"""A few of many cases, in which every pair of values comes that comes in any."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from itertools import combinations
from typing import TypeVar

Case = TypeVar("Case")


def all_pairs(
    cases: Sequence[Case],
    factors: Callable[[Case], Mapping[str, Hashable]],
    kinds: Callable[[Case], Sequence[Hashable]],
) -> tuple[Case, ...]:
    """Chooses greedily, the first of equals, so always the same.

    Args:
        cases: to choose from; the choice keeps their order.
        factors: the values of a case by factor: of any two factors each pair of values that occurs will occur.
        kinds: what a case stands for beside them; each will occur.
    """
    wanted = [_pairs(factors(case)) | {("", kind) for kind in kinds(case)} for case in cases]
    left, chosen = set().union(*wanted), set()
    while left:
        best = max(range(len(cases)), key=lambda number: (len(wanted[number] & left), -number))
        chosen.add(best)
        left -= wanted[best]
    return tuple(case for number, case in enumerate(cases) if number in chosen)


def _pairs(factors: Mapping[str, Hashable]) -> set[Hashable]:
    return set(combinations(sorted(factors.items(), key=lambda factor: factor[0]), 2))
