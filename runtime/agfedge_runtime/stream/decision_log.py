"""Decisions in a file, a JSON line each, that rotates: ``decisions.jsonl``, ``decisions.jsonl.1`` and so on."""

from __future__ import annotations

import errno
import io
import logging
import os
import sys
from logging.handlers import RotatingFileHandler
from pathlib import Path
from types import TracebackType
from typing import Callable

from agfedge_runtime.errors import InputError

_log = logging.getLogger(__name__)

DEFAULT_BYTES = 10_000_000
DEFAULT_FILES = 5
# Whoever keeps only one file has nothing to rotate to.
MIN_FILES = 2
_FULL = (errno.ENOSPC, errno.EDQUOT)


class DecisionLog:
    """A rotating file of lines. What it cannot write is told once and lost: decisions go on.

    Each line is one write to the system, which stays whole when the process is killed. One process writes to a log at
    a time.

    Args:
        path: the newest file; missing folders are made.
        max_bytes: a file that would grow beyond is put aside first, as ``.1``, and the others move on by one.
        files: how many there are at most, the newest among them.
        on_error: called with one line when something cannot be written for the first time.

    Raises:
        InputError: it cannot be written there for another reason than a full disk, or a number does not fit.
    """

    def __init__(
        self,
        path: Path,
        max_bytes: int = DEFAULT_BYTES,
        files: int = DEFAULT_FILES,
        on_error: Callable[[str], None] | None = None,
    ) -> None:
        check_rotation(max_bytes, files)
        try:
            path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            _open(path).close()
        except OSError as error:
            if not is_full(error):
                raise InputError(
                    f"{path}: cannot be written: {error.strerror or error}; choose another place for the log"
                ) from error
        self._handler = _Handler(path, max_bytes, files, on_error)

    def write(self, line: str) -> None:
        """Append a line, without its end; never raises for what the disk does."""
        # The disk may have taken a part of the line before: what follows begins a line of its own.
        start, self._handler.failed = "\n" if self._handler.failed else "", False
        self._handler.handle(logging.makeLogRecord({"msg": start + line}))

    def close(self) -> None:
        """Close the file; safe to call twice."""
        self._handler.close()

    def __enter__(self) -> DecisionLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def check_rotation(max_bytes: int, files: int) -> None:
    """Refuse numbers that a log cannot rotate by.

    Raises:
        InputError: they are such.
    """
    if max_bytes < 1 or files < MIN_FILES:
        raise InputError(
            f"got a log of {files} files of {max_bytes} bytes, expected {MIN_FILES} or more of 1 byte or more"
        )


def is_full(error: BaseException | None) -> bool:
    """Whether the system refused because the disk, or the user's share of it, is full."""
    return isinstance(error, OSError) and error.errno in _FULL


class _Handler(RotatingFileHandler):
    def __init__(self, path: Path, max_bytes: int, files: int, on_error: Callable[[str], None] | None) -> None:
        # Opened with the first line, where a full disk is taken care of.
        super().__init__(path, maxBytes=max_bytes, backupCount=files - 1, encoding="utf-8", delay=True)
        self.failed = False
        self._on_error = on_error
        self._told = False

    def _open(self) -> io.TextIOWrapper:
        return _open(Path(self.baseFilename))

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: ARG002, N802 -- logging's
        self.failed = True
        if self._told:
            return
        self._told = True
        error = sys.exc_info()[1]
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        message = f"{self.baseFilename}: decisions are not logged: {reason}; they go on, free space or mend the folder"
        _log.warning("%s", message)
        if self._on_error is not None:
            self._on_error(message)


def _open(path: Path) -> io.TextIOWrapper:
    # Unbuffered: what the disk refused is not tried again with the next line, and not when the log is closed.
    raw = open(path, "ab", buffering=0, opener=lambda name, flags: os.open(name, flags, 0o644))  # noqa: SIM115
    return io.TextIOWrapper(raw, encoding="utf-8", write_through=True)
