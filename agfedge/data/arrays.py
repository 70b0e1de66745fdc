"""Images or features with their labels, and the three parts that an export needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable

    from torch.utils.data import DataLoader
    from torch.utils.data import Dataset as TorchDataset

    # How a user names data: a path, or batches (x, y) in memory, or either for each part.
    PathLike = str | os.PathLike[str]
    Batches = Iterable[tuple[Any, Any]] | TorchDataset[Any] | DataLoader[Any]
    DataLike = PathLike | Batches | Mapping[str, Batches | PathLike]


@dataclass(frozen=True, eq=False)
class Arrays:
    """Inputs and their labels, checked.

    Attributes:
        x: uint8 (N, H, W, C), camera bytes; or float32 (N, ...), finite, as the model takes it.
        y: int64 (N,), indices into the dataset's classes.
    """

    x: NDArray[np.uint8] | NDArray[np.float32]
    y: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.y)

    def take(self, rows: NDArray[np.intp]) -> Arrays:
        """Return the given rows, copied, in the given order."""
        return Arrays(self.x[rows], self.y[rows])


@dataclass(frozen=True, eq=False)
class Dataset:
    """The three parts of an export: fit on train, choose thresholds on calibration, report on test.

    Attributes:
        classes: Names of the classes; labels index them.
        train: For pruning scores and recovery.
        calibration: For the router's thresholds.
        test: Held out, for the numbers that people read.
        warning: Why the parts are less independent than they should be, or None.
    """

    classes: tuple[str, ...]
    train: Arrays
    calibration: Arrays
    test: Arrays
    warning: str | None


@dataclass(frozen=True, eq=False)
class Source:
    """What a data spec holds before it is divided; nothing large is read until a part is called.

    Attributes:
        name: The spec, for messages.
        classes: Names of the classes, or None where labels are only numbers.
        parts: Readers keyed ``all`` (undivided), or ``train``, ``calibration`` and ``test``.
    """

    name: str
    classes: tuple[str, ...] | None
    parts: Mapping[str, Callable[[], Arrays]]
