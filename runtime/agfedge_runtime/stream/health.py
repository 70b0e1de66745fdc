"""A small file that says how a stream of decisions fares, for whoever watches over it."""

from __future__ import annotations

import json
import logging
import os
import re
import threading
import time
from pathlib import Path
from types import TracebackType

from agfedge_runtime.atomic import write_text
from agfedge_runtime.bundle.bundle import Bundle
from agfedge_runtime.cascade.cascade import Cascade
from agfedge_runtime.errors import AgfedgeError, InputError
from agfedge_runtime.monitor.monitor import Monitor
from agfedge_runtime.monitor.stats import Stats
from agfedge_runtime.stopping import Terminated
from agfedge_runtime.stream.decision_log import is_full, utc

_log = logging.getLogger(__name__)

STARTING, RUNNING, STOPPED, FAILED = "starting", "running", "stopped", "failed"
# Each file is flushed to the disk, and the disk of a small device wears.
EVERY_S = 5.0
# How a deploy names the folder of a release.
_RELEASE = re.compile("[0-9a-f]{16}")
# Whoever ends a stream so has not found a fault in it.
_ENDS = (Terminated, KeyboardInterrupt, BrokenPipeError)


class Health:
    """Writes the file: whole each time, when the state changes, and every few seconds beside that.

    A thread of its own writes, so that decisions never wait for the disk. Used as a context manager: the state is
    ``starting`` at first, and in the end ``stopped``, or ``failed`` with the error that ends the block.

    Args:
        path: the file; missing folders are made.
        source: where inputs come from.
        every_s: seconds between two files.

    Raises:
        InputError: on entry: the file cannot be written there for another reason than a full disk.
    """

    def __init__(self, path: Path, source: str, every_s: float = EVERY_S) -> None:
        self._path = path
        self._every_s = every_s
        unknown = dict.fromkeys(("bundle_digest", "release", "backend", "precision"))
        self._fixed: dict[str, object] = {"pid": os.getpid(), "started": utc(), "source": source, **unknown}
        self._state = STARTING
        self._error: str | None = None
        # How many decisions there were, microseconds of all of them, when the last was: replaced in one step.
        self._seen = (0, 0.0, 0.0)
        self._written = self._seen
        self._mean: float | None = None
        self._monitor: Monitor | None = None
        self._stats: Stats | None = None
        self._wants_stats = False
        self._has_warned = False
        self._wake, self._ended = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._write_on, name="agfedge-health", daemon=True)

    def opened(self, bundle: Bundle) -> None:
        """Say which bundle is about to decide; its engines may take minutes."""
        # A new mapping, since the thread may be reading the old one.
        self._fixed = {**self._fixed, "bundle_digest": bundle.digest, "release": release_of(bundle.path)}
        self._wake.set()

    def running(self, cascade: Cascade) -> None:
        """Say that the cascade is ready."""
        self._fixed = {**self._fixed, "backend": cascade.backend, "precision": cascade.precision}
        self._monitor = cascade.monitor
        self._state = RUNNING
        self._wake.set()

    def decided(self, latency_us: float) -> None:
        """Count a decision; takes a fraction of a microsecond."""
        count, total_us, _ = self._seen
        self._seen = (count + 1, total_us + latency_us, time.time())
        if self._wants_stats and self._monitor is not None:
            # Here and not in the thread: a monitor is used by one worker.
            self._wants_stats = False
            self._stats = self._monitor.stats()

    def fault(self, message: str) -> None:
        """Note what went wrong without ending the decisions."""
        self._error = message

    def __enter__(self) -> Health:
        try:
            self._path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            write_text(self._path, self._text())
        except (OSError, InputError) as error:
            refused = error if isinstance(error, OSError) else error.__cause__
            if not is_full(refused):
                reason = refused.strerror if isinstance(refused, OSError) else error
                raise InputError(f"{self._path}: cannot be the health file: {reason}; choose another place") from error
            self._tell(error)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._wake.set()
        self._thread.join()
        self._state = STOPPED if error is None or isinstance(error, _ENDS) else FAILED
        if self._state == FAILED:
            told = " ".join(str(error).split())
            self._error = told if isinstance(error, AgfedgeError) else f"{type(error).__name__}: {told}"
        if self._monitor is not None:
            self._stats = self._monitor.stats()
        self._write()

    def _write_on(self) -> None:
        while not self._ended.is_set():
            if self._wake.wait(self._every_s):
                self._wake.clear()
            if not self._ended.is_set():
                self._write()
                self._wants_stats = True

    def _write(self) -> None:
        """Write the file; an answer is worth more than a file, so what goes wrong is only told, once."""
        try:
            write_text(self._path, self._text())
        except InputError as error:
            self._tell(error)

    def _tell(self, error: Exception) -> None:
        if not self._has_warned:
            self._has_warned = True
            _log.warning("%s (decisions go on)", error)

    def _text(self) -> str:
        seen, before = self._seen, self._written
        if seen[0] > before[0]:
            self._mean = (seen[1] - before[1]) / (seen[0] - before[0])
            self._written = seen
        told = {
            "state": self._state,
            **self._fixed,
            "written": utc(),
            "decisions": seen[0],
            "last_decision": utc(seen[2]) if seen[0] else None,
            "mean_latency_us": self._mean,
            "monitor": None if self._stats is None else _described(self._stats),
            "last_error": self._error,
        }
        return json.dumps(told, indent=1, allow_nan=False) + "\n"


def release_of(bundle: Path) -> str | None:
    """The release that a bundle's folder is a part of, as a deploy lays it out: ``releases/NAME/bundle``."""
    release = bundle.parent
    return release.name if release.parent.name == "releases" and _RELEASE.fullmatch(release.name) else None


def _described(stats: Stats) -> dict[str, object]:
    return {
        "decisions": stats.decisions,
        "escalation_rate": stats.escalation_rate if stats.decisions else None,
        "calibration_rate": stats.calibration_rate,
        "drift": stats.drift,
        "reason": stats.reason,
    }
