"""Load the data that a user names: a directory of images, an ``.npz`` file or a factory."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from agfedge.base.factory import one_line
from agfedge.data.arrays import Arrays, Dataset, Source, check_range
from agfedge.data.batches import read_factory, read_object
from agfedge.data.images import read_folder
from agfedge.data.npz import read_npz
from agfedge_runtime.errors import InputError

if TYPE_CHECKING:
    from agfedge.data.arrays import DataLike

logger = logging.getLogger(__name__)

UNDIVIDED = (
    "the data was not divided, so it was split 60/20/20 into train, calibration and test: thresholds and "
    "accuracies are optimistic if the heavy expert was trained on these images"
)
HALVED_CALIBRATION = (
    "there is no test part, so the validation part was halved into calibration and test: thresholds and "
    "accuracies are optimistic if the heavy expert was selected on it"
)


def load_dataset(spec: DataLike, seed: int) -> Dataset:
    """Load data for an export, in three parts.

    Undivided data is split 60/20/20, and a test part without a calibration part is halved; each class is
    spread evenly, and the same seed gives the same parts.

    Args:
        spec: A directory (see ``images.read_folder``), an ``.npz`` file (``npz.read_npz``), a factory
            (``batches.read_factory``), or data in memory (``batches.read_object``).
        seed: Of the splits.

    Returns:
        The dataset; classes without names are called "0", "1", ...

    Raises:
        InputError: There is no such data, or it does not fit; one line that names the file or array.
    """
    source = _open(spec, None)
    parts, warning = _divide({name: read() for name, read in source.parts.items()}, source.name, seed)
    classes = source.classes or _numbered(parts)
    _check(parts, len(classes), source.name)
    return Dataset(classes, parts["train"], parts["calibration"], parts["test"], warning)


def load_arrays(spec: DataLike, classes: Sequence[str] | None = None) -> Arrays:
    """Load one set of samples, to measure on: all of undivided data, the test part of divided data.

    Args:
        spec: As for ``load_dataset``.
        classes: Names that the labels must index (a bundle's); folders among them may be missing, and labels
            must be below their number. None takes the classes from the data.

    Raises:
        InputError: There is no such data, or it does not fit.
    """
    source = _open(spec, classes)
    name = next(part for part in ("all", "test", "calibration", "train") if part in source.parts)
    arrays = source.parts[name]()
    if classes is not None:
        check_range(arrays, len(classes), source.name)
    return arrays


def _open(given: DataLike, classes: Sequence[str] | None) -> Source:
    if not isinstance(given, (str, PurePath)):
        return read_object(given, read_path=lambda path: _open(path, classes))
    spec, path = str(given), Path(given)
    if path.is_dir():
        try:
            return read_folder(path, classes)
        except OSError as error:
            raise InputError(f"{spec} cannot be read: {one_line(error)}") from error
    if path.is_file() and path.suffix != ".npz":
        raise InputError(f"{spec} is no .npz file; give a directory of class folders, an .npz or a factory")
    if path.is_file():
        return read_npz(path)
    if ":" in spec:
        return read_factory(spec)
    raise InputError(
        f"no such data: {spec}; give a directory of class folders, an .npz file, or package.module:factory"
    )


def _divide(given: Mapping[str, Arrays], name: str, seed: int) -> tuple[dict[str, Arrays], str | None]:
    parts = set(given)
    if parts == {"all"}:
        train, calibration, test = _cut(given["all"], (60, 20, 20), name, seed)
        return {"train": train, "calibration": calibration, "test": test}, UNDIVIDED
    if parts == {"train", "calibration", "test"}:
        return dict(given), None
    if "train" not in parts or len(parts) == 1:
        raise InputError(f"{name} has {' and '.join(sorted(parts))} only; expected train and test, or neither")
    held, warning = ("test", None) if "test" in parts else ("calibration", HALVED_CALIBRATION)
    calibration, test = _cut(given[held], (50, 50), name, seed)
    return {"train": given["train"], "calibration": calibration, "test": test}, warning


def _cut(arrays: Arrays, percents: Sequence[int], name: str, seed: int) -> list[Arrays]:
    sizes = shares(len(arrays), percents)
    if not all(sizes):
        raise InputError(f"{name}: {len(arrays)} samples are too few to split {'/'.join(map(str, percents))}")
    logger.info("%s: split into parts of %s samples", name, sizes)
    return [arrays.take(rows) for rows in stratified(arrays.y, sizes, seed)]


def _numbered(parts: Mapping[str, Arrays]) -> tuple[str, ...]:
    return tuple(str(label) for label in range(max(int(part.y.max()) for part in parts.values()) + 1))


def _check(parts: Mapping[str, Arrays], classes: int, name: str) -> None:
    train = parts["train"]
    if len(np.unique(train.y)) < 2:
        raise InputError(f"{name} holds one class only (label {int(train.y[0])}); expected two or more")
    for part, arrays in parts.items():
        check_range(arrays, classes, f"{name} ({part})")
        if arrays.x.shape[1:] != train.x.shape[1:] or arrays.x.dtype != train.x.dtype:
            raise InputError(
                f"{name}: {part} holds {arrays.x.dtype} of shape {arrays.x.shape[1:]}, "
                f"but train {train.x.dtype} of shape {train.x.shape[1:]}; expected the same"
            )


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
