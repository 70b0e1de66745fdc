"""What is refused before any work, alike for every function that takes such an option."""

from __future__ import annotations

import difflib
import os
from collections.abc import Collection
from pathlib import Path

from agfedge_runtime.bundle.manifest import MANIFEST_NAME
from agfedge_runtime.errors import InputError

LARGEST_SEED = 2**63 - 1


def suggestion(name: str, known: Collection[str]) -> str:
    """Returns ` (did you mean ...?)` with the names that are closest; empty where none is close."""
    close = difflib.get_close_matches(name, known, n=2, cutoff=0.5)
    return f" (did you mean {' or '.join(close)}?)" if close else ""


def check_seed(seed: int) -> None:
    """Refuses a seed that a generator would refuse.

    Raises:
        InputError: it is negative or too large.
    """
    if not 0 <= seed <= LARGEST_SEED:
        raise InputError(f"--seed is {seed}: expected 0 to {LARGEST_SEED}")


def check_counts(**counts: int | None) -> None:
    """Refuses what must be one or more: options by their names, None where not given.

    Raises:
        InputError: one of them is below 1.
    """
    for name, count in counts.items():
        if count is not None and count < 1:
            raise InputError(f"--{name.replace('_', '-')} is {count}: expected 1 or more")


def check_given(option: str, path: str | None) -> None:
    """Refuses a file that is not there.

    Raises:
        InputError: there is no such file.
    """
    if path is not None and not Path(path).is_file():
        raise InputError(f"{option} {path}: no such file")


def check_file(option: str, path: str, suffix: str = "", taken: Collection[str] = ()) -> None:
    """Refuses, before any work, a file that could not be written after it.

    Args:
        option: that names it.
        path: of the file.
        suffix: that it must have.
        taken: files that it must not take the place of.

    Raises:
        InputError: it has another suffix, is a folder, lies in none, in a bundle or in one that may not be written, or
            takes the place of another file.
    """
    target = Path(path)
    if not target.name.endswith(suffix):
        raise InputError(f"{option} is {path}: expected a name that ends in {suffix}")
    if target.is_dir():
        raise InputError(f"{option} {path} is a folder: expected a file's name")
    folder = target.absolute().parent
    if not folder.is_dir():
        raise InputError(f"{option} {path}: there is no folder {target.parent}; make it first")
    if (folder / MANIFEST_NAME).is_file():
        raise InputError(f"{option} {path} lies in a bundle, which no file may be added to: choose another folder")
    if not os.access(folder, os.W_OK):
        raise InputError(f"{option} {path}: its folder may not be written: choose another one")
    other = next((each for each in taken if os.path.realpath(each) == os.path.realpath(target)), None)
    if other is not None:
        raise InputError(f"{option} {path} would replace {other}, which is read or written too: choose another name")


def check_bundle_place(option: str, out: Path) -> None:
    """Refuses a place for a bundle that its writer would refuse, but only when everything is done.

    Raises:
        InputError: it is a file or a link, or a folder that holds something else.
    """
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise InputError(f"{option} {out} is a file or a link: expected a bundle's folder or a free name")
    if out.is_dir() and any(out.iterdir()) and not (out / MANIFEST_NAME).is_file():
        raise InputError(f"{option} {out} is not empty and holds no bundle: empty it or choose another folder")


def check_work_folder(out: Path) -> None:
    """Refuses a place for a folder of points that is a file.

    Raises:
        InputError: it is.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out} is a file: expected a folder, or a free name")
