"""Divide samples into parts: exact sizes, each class spread evenly, the same for the same seed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def stratified(y: NDArray[np.int64], sizes: Sequence[int], seed: int) -> list[NDArray[np.intp]]:
    """Divide samples into parts of exactly the given sizes.

    Each class is shuffled and its samples are laid evenly over [0, 1); all samples are then ordered by that
    position and cut. So a part of a fraction f gets f of each class, give or take one sample.

    Args:
        y: int64 (N,), labels.
        sizes: Size of each part; they add up to N.
        seed: Of the shuffle.

    Returns:
        One array of indices a part, ascending.
    """
    if sum(sizes) != len(y):
        raise ValueError(f"sizes {list(sizes)} do not add up to {len(y)} samples")
    shuffle = np.random.default_rng(seed).permutation(len(y))
    by_class = shuffle[np.argsort(y[shuffle], kind="stable")]
    _, starts, counts = np.unique(y[by_class], return_index=True, return_counts=True)
    rank = np.arange(len(y)) - np.repeat(starts, counts)
    position = (rank + 0.5) / np.repeat(counts, counts)
    # Equal positions (classes of equal size) are ordered by the shuffle, not by class.
    order = by_class[np.lexsort((np.argsort(shuffle)[by_class], position))]
    cuts = np.cumsum(np.asarray(sizes, dtype=np.intp))[:-1]
    return [np.sort(part) for part in np.split(order, cuts)]


def shares(total: int, percents: Sequence[int]) -> list[int]:
    """Return whole sizes in proportion to ``percents`` (which add up to 100); they add up to ``total``."""
    ends = [round(total * sum(percents[: n + 1]) / 100) for n in range(len(percents))]
    return [end - start for start, end in zip([0, *ends], ends, strict=False)]
