"""Where engines are kept: beside the bundle where somebody made a folder for them, else in the user's cache.

One builder at a time works there: two builds at once would take each other's memory, and spoil each other's timing.
"""

from __future__ import annotations

import contextlib
import logging
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from agfedge_runtime.errors import InputError
from agfedge_runtime.machine.machine import user_folder

_SUFFIX = ".engines"
_log = logging.getLogger(__name__)


def engines_folder(graph: Path) -> Path:
    """Where the engines of a graph are kept when nothing else is said.

    A bundle's own folder takes no other files than its manifest lists, so that its engines lie beside it.

    Args:
        graph: a file of the bundle.

    Returns:
        ``BUNDLE.engines`` where that folder is there already, else ``agfedge/engines`` in the user's cache
        (``XDG_CACHE_HOME``, by default ``~/.cache``), or ``BUNDLE.engines`` for a user without a home.
    """
    own = graph.resolve().parent
    if own.name.endswith(_SUFFIX):
        return own  # a part of a bundle's graph that lies among the engines
    beside = folder_beside(graph)
    if beside.is_dir():
        return beside
    home = user_folder("XDG_CACHE_HOME", ".cache")
    return home / "agfedge" / "engines" if home.is_absolute() else beside


def folder_beside(graph: Path) -> Path:
    """``BUNDLE.engines``, for a file of the bundle; once it is there, engines are kept in it."""
    bundle = graph.resolve().parent
    return bundle.with_name(bundle.name + _SUFFIX)


def make_folder(folder: Path) -> None:
    """Make a folder for engines that nobody else can write to: a plan holds code that is run.

    Raises:
        InputError: it cannot be made, or others may write to it.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        mode = folder.stat().st_mode
    except OSError as error:
        raise not_writable(folder, error) from error
    check_private(folder, mode)


def check_private(folder: Path, mode: int) -> None:
    """Refuse a folder that everybody may write to.

    Raises:
        InputError: it is one.
    """
    if mode & stat.S_IWOTH:
        raise InputError(f"{folder}: everybody may write to it, and engines are code that is run; chmod o-w it")


def not_writable(folder: Path, error: OSError) -> InputError:
    """The error for a folder that takes no engines."""
    return InputError(
        f"{folder}: engines cannot be kept there: {error.strerror or error}; make it writable, set "
        "XDG_CACHE_HOME, or build with --beside"
    )


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold a lock file, after waiting for whoever holds it; the kernel gives it back when its holder dies.

    Raises:
        OSError: the file cannot be made.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _wait(descriptor, path)
        yield
    finally:
        os.close(descriptor)


def _wait(descriptor: int, path: Path) -> None:
    try:
        import fcntl
    except ImportError:
        return  # Not POSIX: there a plan may be built twice, and the last one stays.
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        _log.info("%s: waiting for another process that builds an engine", path.parent)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
