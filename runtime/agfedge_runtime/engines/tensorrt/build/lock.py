"""One builder at a time: two builds at once would take each other's memory, and spoil each other's timing."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path

_log = logging.getLogger(__name__)


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
