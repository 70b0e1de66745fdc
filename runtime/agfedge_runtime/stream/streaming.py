"""Decisions of a source, one after the other: printed, logged, and watched over."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Iterable

from agfedge_runtime.bundle.bundle import Bundle
from agfedge_runtime.cascade.cascade import Cascade
from agfedge_runtime.errors import InputError
from agfedge_runtime.stopping import Stopping, Terminated
from agfedge_runtime.stream.decision_log import (
    DEFAULT_BYTES,
    DEFAULT_FILES,
    HEADER,
    DecisionLog,
    check_rotation,
    line_of,
    printable,
    rows_of,
    utc,
)
from agfedge_runtime.stream.health import Health
from agfedge_runtime.stream.items import Item
from agfedge_runtime.stream.sources import open_source


@dataclass(frozen=True)
class Stream:
    """What decides what, and where that is noted.

    Attributes:
        bundle: the bundle's folder.
        source: see `open_source`.
        backend: see `Cascade.open`.
        precision: likewise.
        threads: likewise.
        decisions: how many there are at most; None for no end.
        log: a file that decisions are appended to; None for none.
        log_bytes: see `DecisionLog`.
        log_files: likewise.
        health: see `Health`; None for none.

    Raises:
        InputError: a number does not fit.
    """

    bundle: Path
    source: str
    backend: str = "auto"
    precision: str = "fp32"
    threads: int = 1
    decisions: int | None = None
    log: Path | None = None
    log_bytes: int = DEFAULT_BYTES
    log_files: int = DEFAULT_FILES
    health: Path | None = None

    def __post_init__(self) -> None:
        if self.decisions is not None and self.decisions < 1:
            raise InputError(f"got {self.decisions} decisions to stop after, expected 1 or more")
        check_rotation(self.log_bytes, self.log_files)


def run_stream(stream: Stream, as_json: bool) -> int:
    """Decide until the source ends, enough was decided, or a signal comes.

    Args:
        stream: what.
        as_json: print JSON lines, else a table.

    Returns:
        0, also after SIGTERM.

    Raises:
        AgfedgeError: the bundle cannot be trusted, nothing runs here, or an input cannot be read.
        KeyboardInterrupt: SIGINT came; as with SIGTERM, the last decision was noted everywhere.
    """
    try:
        with contextlib.ExitStack() as opened:
            stopping = opened.enter_context(Stopping())
            health = None if stream.health is None else opened.enter_context(Health(stream.health, stream.source))
            log = _open_log(stream, health, opened)
            bundle = Bundle.open(stream.bundle)
            if health is not None:
                health.opened(bundle)
            # Before the engines, which may take minutes: a camera that is not there is told at once.
            bundle.manifest.in_precision(stream.precision)
            spec = bundle.manifest.input
            items = opened.enter_context(open_source(stream.source, spec))
            cascade = opened.enter_context(
                Cascade.open(bundle, stream.backend, stream.threads, precision=stream.precision)
            )
            if health is not None:
                health.running(cascade)
            _decide(cascade, islice(items, stream.decisions), _Notes(as_json, log, health), stopping)
    except Terminated:
        pass
    return 0


class _Notes:
    """Everything that a decision is noted in."""

    def __init__(self, as_json: bool, log: DecisionLog | None, health: Health | None) -> None:
        self._as_json = as_json
        self._log = log
        self._health = health

    def begin(self) -> None:
        """Print the head of the table, if there is one."""
        if not self._as_json:
            _print(f"{HEADER}  source")

    def keep(self, item: Item, row: dict[str, object], latency_us: float) -> str:
        """Note a decision in the log and for the health file; return the line that is to be printed."""
        told = {"time": utc(), "source": item.source, "row": item.row, **row, "latency_us": latency_us}
        line = json.dumps(told)
        if self._health is not None:
            self._health.decided(latency_us)
        if self._log is not None:
            self._log.write(line)
        return line if self._as_json else f"{line_of(item.row, row)}  {printable(item.source)}"


def _decide(cascade: Cascade, items: Iterable[Item], notes: _Notes, stopping: Stopping) -> None:
    classes = cascade.manifest.classes
    notes.begin()
    for item in items:
        stopping.shield()
        decisions = cascade(item.x)
        (row,) = rows_of(decisions, classes)
        line = notes.keep(item, row, decisions.latency_us)
        # Printing may wait for a reader for ever.
        stopping.unshield()
        try:
            _print(line)
        except (Terminated, KeyboardInterrupt):
            _leave_stdout()
            raise


def _open_log(stream: Stream, health: Health | None, opened: contextlib.ExitStack) -> DecisionLog | None:
    if stream.log is None:
        return None
    on_error = None if health is None else health.fault
    return opened.enter_context(DecisionLog(stream.log, stream.log_bytes, stream.log_files, on_error))


def _leave_stdout() -> None:
    """Drop what is not printed yet: Python would else wait for the reader when it ends."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
