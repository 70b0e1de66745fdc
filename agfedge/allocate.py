"""Allocation: how many channels of each group stay, and which."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agfedge_runtime.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from agfedge.scores import Scores


def uniform_keep(scores: Scores, keep: float) -> Mapping[str, NDArray[np.int64]]:
    """Keeps the same share of every group: its best channels, at least one.

    Args:
        scores: for each group float64 (size,), higher is worth more; within a group raw scores are compared.
        keep: share of the channels that stay, in (0, 1].

    Returns:
        For each group the units that stay, ascending, int64. Equal scores keep the lower unit.

    Raises:
        InputError: `keep` is outside (0, 1].
    """
    if not 0 < keep <= 1:
        raise InputError(f"--keep is {keep}: expected a share in (0, 1], such as 0.5")
    return {name: best_units(values, max(1, round(keep * len(values)))) for name, values in scores.items()}


def best_units(values: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """Returns the `count` units with the highest scores, ascending."""
    return np.sort(np.argsort(-values, kind="stable")[:count])
