"""Keeps what is measured as it is measured: in memory, and once a second on the disk and wherever else it is read."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import perf_counter

from agfedge_runtime.errors import InputError
from agfedge_runtime.profile.record import RunRecord, Section, header_line, section_line
from agfedge_runtime.profile.samples import Samples

FLUSH_S = 1.0
# What is measured, what a row holds, a row: with less there is nothing to keep.
_LEAST_LINES = 3


class Recorder:
    """Takes rows as they come. What it does with them happens between timed parts, never in one.

    Args:
        header: see `RunRecord`.
        writers: what takes whole lines of the record, with their ends.
        checkpoint: called after each row, once it is safe; what it raises ends the measurement.
        now: seconds of a clock.

    Attributes:
        record: all that was taken.
    """

    def __init__(
        self,
        header: Mapping[str, object],
        writers: Sequence[Callable[[str], object]] = (),
        checkpoint: Callable[[], object] | None = None,
        now: Callable[[], float] = perf_counter,
    ) -> None:
        self.record = RunRecord(header)
        self._writers, self._checkpoint, self._now = tuple(writers), checkpoint, now
        self._section = Section({}, ())
        self._waiting: list[Sequence[object]] = []
        self._next_flush = now() + FLUSH_S
        self._write(header_line(header))

    def section(self, name: str, columns: Sequence[str], facts: Mapping[str, object] | None = None) -> None:
        """Open a section: the rows from now on are its rows."""
        self.flush()
        self._section = self.record.sections[name] = Section(facts or {}, columns)
        self._write(section_line(name, self._section))

    def add(self, row: Sequence[object]) -> None:
        """Take a row: numbers, and None where there is none."""
        self._section.rows.append(row)
        if self._writers:
            self._waiting.append(row)
            if self._now() >= self._next_flush:
                self.flush()
        if self._checkpoint is not None:
            self._checkpoint()

    def layers(self, layers: Mapping[str, Sequence[Mapping[str, object]]]) -> None:
        """Take the times of layers, by stage."""
        self.flush()
        self.record.layers = dict(layers)
        self._write(json.dumps({"layers": self.record.layers}, allow_nan=False))

    def flush(self) -> None:
        """Hand on what waits."""
        waiting, self._waiting = self._waiting, []
        if waiting:
            self._write("\n".join(json.dumps(row, allow_nan=False) for row in waiting))
        self._next_flush = self._now() + FLUSH_S

    def end(self, complete: bool, state: Mapping[str, object] | None = None) -> Samples:
        """Close the record.

        Args:
            complete: whether the measurement came to its end.
            state: see `Samples`.

        Raises:
            InputError: no decision was recorded.
        """
        self.flush()
        self.record.complete, self.record.state = complete, None if state is None else dict(state)
        self._write(json.dumps({"end": {"complete": complete, "state": self.record.state}}, allow_nan=False))
        return self.record.samples()

    def _write(self, text: str) -> None:
        for writer in self._writers:
            writer(f"{text}\n")


class SideFile:
    """A file that a record is written to, beside the file that its samples will be in.

    What was written is on the disk when `write` returns: it outlives the process, and the machine. Use it as a context
    manager; when it is left a file without a decision goes.

    Args:
        path: of the file; an older one is replaced.

    Raises:
        InputError: it cannot be written there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lines = 0
        try:
            self._file = open(path, "wb")  # noqa: SIM115 - closed by `close`
        except OSError as error:
            raise InputError(f"{path}: cannot be written: {error.strerror}; choose another --out") from error

    def write(self, text: str) -> None:
        """Append lines.

        Raises:
            InputError: the disk is full, or gone.
        """
        try:
            self._file.write(text.encode("utf-8"))
            self._file.flush()
            os.fsync(self._file.fileno())
            self._lines += text.count("\n")
        except OSError as error:
            raise InputError(
                f"{self.path}: cannot be written: {error.strerror}; what was recorded before is there"
            ) from error

    def remove(self) -> None:
        """Remove the file, once the samples are elsewhere."""
        self._lines = 0

    def __enter__(self) -> SideFile:
        return self

    def __exit__(self, *error: object) -> None:
        # What the disk refused once it may refuse again.
        with contextlib.suppress(OSError):
            self._file.close()
        if self._lines < _LEAST_LINES:
            self.path.unlink()


def side_path(out: Path) -> Path:
    """Where the record lies while the samples for `out` are being measured."""
    return out.with_name(f"{out.name}.partial")
