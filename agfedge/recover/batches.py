"""Which samples a batch holds: a split that follows the seed, batches that batch normalisation can take."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from agfedge.recover.options import Recovery


def held_out(count: int, how: Recovery) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Divides `count` training samples into rows that are held out, to judge with, and rows to train on."""
    order = np.random.default_rng(how.seed).permutation(count)
    held = max(1, round(how.validation * count))
    return order[:held], order[held:]


def shuffled(rows: NDArray[np.int64], seed: int, epoch: int) -> NDArray[np.int64]:
    """Returns rows in an epoch's own order."""
    return rows[np.random.default_rng((seed, epoch)).permutation(len(rows))]


def cut(order: NDArray[np.int64], size: int, least: int = 2) -> list[NDArray[np.int64]]:
    """Cuts rows into batches of `size`; a last batch below `least` joins the one before.

    Batch normalisation needs two samples, in each process that shares a batch.
    """
    starts = list(range(0, max(1, len(order) - least + 1), size))
    return np.split(order, starts[1:])
