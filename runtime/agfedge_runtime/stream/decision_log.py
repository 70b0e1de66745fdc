"""A decision as a line, for people and as JSON, and a file of such lines that rotates.

The files are ``decisions.jsonl``, ``decisions.jsonl.1`` and so on.
"""

from __future__ import annotations

import errno
import io
import logging
import os
import sys
from datetime import datetime, timezone
from logging.handlers import RotatingFileHandler
from pathlib import Path
from types import TracebackType
from typing import Callable, Mapping, Sequence

import numpy as np

from agfedge_runtime.bundle.router import Branch
from agfedge_runtime.cascade.decisions import Decisions
from agfedge_runtime.errors import InputError

_log = logging.getLogger(__name__)

DEFAULT_BYTES = 10_000_000
DEFAULT_FILES = 5
# Whoever keeps only one file has nothing to rotate to.
MIN_FILES = 2
_FULL = (errno.ENOSPC, errno.EDQUOT)
HEADER = f"{'row':>6}  {'branch':6}  {'probability':>11}  class"

Row = Mapping[str, object]


def utc(seconds: float | None = None) -> str:
    """A moment in UTC to the millisecond (ISO 8601), such as ``2026-01-31T12:00:00.250Z``.

    Args:
        seconds: since 1970; now by default.
    """
    moment = datetime.now(timezone.utc) if seconds is None else datetime.fromtimestamp(seconds, timezone.utc)
    return moment.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def rows_of(decisions: Decisions, classes: Sequence[str]) -> list[dict[str, object]]:
    """What was decided, a mapping for each input, ready for JSON.

    Args:
        decisions: of N inputs.
        classes: their names, by label.
    """
    return [
        {
            "label": int(label),
            "class": classes[label],
            "probability": float(decisions.probabilities[index, label]),
            "branch": Branch(decisions.branches[index]).name.lower(),
            "prior": _number(decisions.prior[index]),
            "confidence": _number(decisions.confidence[index]),
        }
        for index, label in enumerate(decisions.labels)
    ]


def line_of(index: object, row: Row) -> str:
    """A row of the table below `HEADER`; whatever the row holds, it is one line that leaves a terminal alone.

    Args:
        index: the input's place.
        row: as of `rows_of`, or read back from JSON; what is not there is shown as ``?``.
    """
    probability = row.get("probability")
    shown = f"{probability:11.4f}" if isinstance(probability, (int, float)) else f"{'?':>11}"
    return printable(f"{index!s:>6}  {row.get('branch', '?')!s:6}  {shown}  {row.get('class', '?')}")


def printable(text: str) -> str:
    """The text with every control character, line ends among them, replaced by ``?``."""
    return text if text.isprintable() else "".join(char if char.isprintable() else "?" for char in text)


def _number(value: np.float32) -> float | None:
    return None if np.isnan(value) else float(value)


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
        self._has_warned = False

    def _open(self) -> io.TextIOWrapper:
        return _open(Path(self.baseFilename))

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: ARG002, N802 -- logging's
        self.failed = True
        if self._has_warned:
            return
        self._has_warned = True
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
