"""Read arrays from an ``.npz`` file; nothing in it is ever unpickled."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agfedge.base.factory import one_line
from agfedge.data.arrays import PARTS, Arrays, Source, checked
from agfedge_runtime.errors import InputError


def read_npz(path: Path) -> Source:
    """List the arrays of an ``.npz`` file; each part is read when it is called.

    Args:
        path: Holds ``x`` and ``y``, or ``x_train``, ``y_train``, ``x_test``, ``y_test`` and perhaps
            ``x_calibration`` and ``y_calibration``; with these, ``x`` and ``y`` are passed over.

    Raises:
        InputError: Not an ``.npz``, or without such arrays; and, when a part is read: object arrays, or
            arrays that do not fit (see ``arrays.checked``).
    """
    names = _names(path)
    keys = {part: (f"x_{part}", f"y_{part}") for part in PARTS if names & {f"x_{part}", f"y_{part}"}}
    keys = keys or {"all": ("x", "y")}
    for name in (name for pair in keys.values() for name in pair):
        if name not in names:
            raise InputError(f"{path} holds {sorted(names)} and no {name!r}; expected {_expected(keys)}")
    return Source(str(path), None, {part: partial(_read, path, *pair) for part, pair in keys.items()})


def _expected(keys: Mapping[str, tuple[str, str]]) -> str:
    return ", ".join(name for pair in keys.values() for name in pair)


def _names(path: Path) -> set[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            return {name[: -len(".npy")] for name in archive.namelist() if name.endswith(".npy")}
    except (OSError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} cannot be read as .npz: {one_line(error)}") from error


def _read(path: Path, x_name: str, y_name: str) -> Arrays:
    where = f"{path} ({x_name}, {y_name})"
    return checked(_array(path, x_name), _array(path, y_name), where)


def _array(path: Path, name: str) -> NDArray[np.generic]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            array: NDArray[np.generic] = np.asarray(archive[name])
            return array
    except Exception as error:  # zipfile, zlib and numpy each raise their own for broken bytes
        raise InputError(f"{path}: array {name!r} cannot be read: {one_line(error)}") from error
