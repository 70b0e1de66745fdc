"""Images or features with their labels, checked, and the three parts that an export needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from agfedge_runtime.errors import InputError

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable

    from torch.utils.data import DataLoader
    from torch.utils.data import Dataset as TorchDataset

    # How a user names data: a path, or batches (x, y) in memory, or either for each part.
    PathLike = str | os.PathLike[str]
    Batches = Iterable[tuple[Any, Any]] | TorchDataset[Any] | DataLoader[Any]
    DataLike = PathLike | Batches | Mapping[str, Batches | PathLike]

PARTS = ("train", "calibration", "test")
# Labels without names make a tuple of names 0..max: a stray 10**9 must not.
MAX_CLASSES = 1 << 17


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


def checked(x: NDArray[np.generic], y: NDArray[np.generic], where: str) -> Arrays:
    """Return ``x`` and ``y`` as Arrays.

    Args:
        x: uint8 (N, H, W) or (N, H, W, C), or any float dtype (N, ...).
        y: Any integer dtype, (N,).
        where: Names the data in messages.

    Raises:
        InputError: A dtype, rank or length does not fit, a label is negative or absurd, x is not finite,
            or there are no samples.
    """
    labels = _checked_labels(y, where)
    if x.ndim == 0 or len(x) != len(labels):
        raise InputError(f"{where}: x has shape {x.shape} and y {y.shape}; expected as many rows as labels")
    if len(labels) == 0:
        raise InputError(f"{where}: no samples")
    if x.dtype == np.uint8:
        return Arrays(_checked_images(x.astype(np.uint8, copy=False), where), labels)
    if np.issubdtype(x.dtype, np.floating):
        return Arrays(_checked_floats(x, where), labels)
    raise InputError(
        f"{where}: x has dtype {x.dtype}; expected uint8 camera bytes (N, H, W, C), or float32 as the model takes it"
    )


def check_range(arrays: Arrays, classes: int, where: str) -> None:
    """Raise InputError when a label is not below the number of classes."""
    highest = int(arrays.y.max())
    if highest >= classes:
        raise InputError(f"{where}: label {highest} is out of range; expected 0 to {classes - 1}")


def _checked_labels(y: NDArray[np.generic], where: str) -> NDArray[np.int64]:
    if y.ndim != 1 or not np.issubdtype(y.dtype, np.integer):
        raise InputError(f"{where}: y has dtype {y.dtype} and shape {y.shape}; expected integer labels of shape (N,)")
    for label in (y.min(), y.max()) if y.size else ():
        if not 0 <= int(label) < MAX_CLASSES:
            raise InputError(f"{where}: label {label} is out of range; expected 0 to {MAX_CLASSES - 1}")
    return y.astype(np.int64)


def _checked_images(x: NDArray[np.uint8], where: str) -> NDArray[np.uint8]:
    if x.ndim == 3:
        x = x[..., None]
    if x.ndim != 4 or x.size == 0:
        raise InputError(f"{where}: uint8 x has shape {x.shape}; expected (N, H, W) or (N, H, W, C)")
    if x.shape[1] in (1, 3) and x.shape[3] not in (1, 3, 4):
        raise InputError(
            f"{where}: uint8 x has shape {x.shape}, channels first; expected (N, H, W, C): move axis 1 last"
        )
    return np.ascontiguousarray(x)


def _checked_floats(x: NDArray[np.generic], where: str) -> NDArray[np.float32]:
    if x.ndim < 2 or x.size == 0:
        raise InputError(f"{where}: float x has shape {x.shape}; expected (N, ...) with no empty axis")
    with np.errstate(over="ignore"):  # float64 beyond float32's range becomes inf, which is refused below
        floats = np.ascontiguousarray(x, dtype=np.float32)
    finite = np.isfinite(floats.reshape(len(floats), -1)).all(axis=1)
    if not finite.all():
        raise InputError(f"{where}: x holds NaN or infinity (first in row {int(np.argmin(finite))})")
    return floats
