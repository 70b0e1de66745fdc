"""A measurement as JSON lines, one a decision, so that what was seen can be kept and sent while it goes on.

The first line says what is measured. A line ``{"section": ..., "facts": ..., "columns": ...}`` opens a section; the
arrays that follow are its rows. ``{"layers": ...}`` and, at the very end, ``{"end": ...}`` stand alone. Without the end
the measurement was cut short, and perhaps its last line with it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from agfedge_runtime.errors import InputError
from agfedge_runtime.profile.samples import ARRAYS, SCHEMA, Samples

# The sections.
DECISIONS, RATE, BATCHES = "decisions", "rate", "batches"
# What a record begins with.
HEAD = '{"record"'
_HINT = "measure again with this release"


@dataclass
class Section:
    """Rows of one kind.

    Attributes:
        facts: what holds for all of them.
        columns: names of a row's values.
        rows: the values; None where there is none.
    """

    facts: Mapping[str, object]
    columns: Sequence[str]
    rows: list[Sequence[object]] = field(default_factory=list)

    def column(self, name: str) -> list[object]:
        """One value of every row."""
        index = list(self.columns).index(name)
        return [row[index] for row in self.rows]


@dataclass
class RunRecord:
    """What was recorded so far.

    Attributes:
        header: bundle_digest, backend, threads and environment, as of `Samples`.
        sections: by name.
        layers: as of `Samples`, as JSON has it.
        state: as of `Samples`.
        complete: whether it came to its end.
    """

    header: Mapping[str, object]
    sections: dict[str, Section] = field(default_factory=dict)
    layers: object = field(default_factory=dict)
    state: object = None
    complete: bool = False

    @property
    def decisions(self) -> int:
        """How many decisions were recorded."""
        section = self.sections.get(DECISIONS)
        return 0 if section is None else len(section.rows)

    def samples(self) -> Samples:
        """The samples.

        Raises:
            InputError: no decision was recorded, or something that cannot be.
        """
        if self.decisions == 0:
            raise InputError("no decision was recorded; measure again")
        found = self.sections[DECISIONS]
        by_name: dict[str, object] = {name: found.column(name) for name in found.columns}
        document = {
            **{name: each for name, each in by_name.items() if "." not in name},
            "stage_us": _below("stage_us", by_name),
            "device_us": _below("device_us", by_name),
            "rate": self._rate(),
            "batches": self._table(BATCHES),
            "layers": self.layers,
            "state": self.state,
            "complete": self.complete,
        }
        return Samples.from_document({"schema": SCHEMA, **self.header, **document})

    def _table(self, name: str) -> dict[str, object] | None:
        found = self.sections.get(name)
        if found is None or not found.rows:
            return None
        return {**found.facts, **{column: found.column(column) for column in found.columns}}

    def _rate(self) -> dict[str, object] | None:
        table = self._table(RATE)
        if table is not None:
            # Counted up from row to row.
            table["dropped"] = cast("list[object]", table["dropped"])[-1]
        return table


class Reader:
    """Puts a record together from its lines.

    Attributes:
        record: what came so far; None before the first line.
    """

    def __init__(self) -> None:
        self.record: RunRecord | None = None
        self._section: Section | None = None

    def add(self, line: str) -> bool:
        """Take the next line.

        Returns:
            Whether it is a decision's.

        Raises:
            InputError: it is no line of a record.
        """
        try:
            value: object = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"the record of a measurement holds a line that is no JSON; {_HINT}") from error
        if isinstance(value, list):
            return self._add_row(value)
        if not isinstance(value, dict):
            raise InputError(f"the record of a measurement holds a line of another kind; {_HINT}")
        self._add_object(value)
        return False

    def _add_row(self, row: list[object]) -> bool:
        if self.record is None or self._section is None or len(row) != len(self._section.columns):
            raise InputError(f"the record of a measurement holds a row that does not fit; {_HINT}")
        self._section.rows.append(row)
        return self._section is self.record.sections.get(DECISIONS)

    def _add_object(self, value: dict[str, object]) -> None:
        if self.record is None:
            if value.get("record") != SCHEMA:
                raise InputError(f"this is no record of a measurement, or one of another release; {_HINT}")
            self.record = RunRecord({key: each for key, each in value.items() if key != "record"})
        elif "section" in value:
            columns, facts = value.get("columns"), value.get("facts")
            if not isinstance(columns, list) or not isinstance(facts, dict):
                raise InputError(f"the record of a measurement holds a section without columns; {_HINT}")
            self._section = self.record.sections[str(value["section"])] = Section(facts, list(map(str, columns)))
        elif "layers" in value:
            self.record.layers = value["layers"]
        elif isinstance(value.get("end"), dict):
            end = cast("dict[str, object]", value["end"])
            self.record.complete, self.record.state = end.get("complete") is True, end.get("state")


def read_record(lines: Iterable[str]) -> RunRecord:
    """Read a record; a last line that was cut short is left out.

    Raises:
        InputError: it is none.
    """
    reader, waiting = Reader(), ""
    for line in lines:
        if waiting:
            reader.add(waiting)
        waiting = line.strip()
    if waiting:
        try:
            reader.add(waiting)
        except InputError:
            if reader.record is None:
                raise
    if reader.record is None:
        raise InputError(f"the record of the measurement is empty; {_HINT}")
    return reader.record


def read_samples(path: Path) -> Samples:
    """Read samples from a file: as they are written at the end, or the record of a run that was cut short.

    Raises:
        InputError: it cannot be read, or holds neither.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}; give a file that profile --out wrote") from error
    try:
        if text.lstrip().startswith(HEAD):
            return read_record(text.splitlines()).samples()
        return Samples.from_json(text)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def header_line(header: Mapping[str, object]) -> str:
    """The first line."""
    # "record" comes first, as `HEAD` says.
    return json.dumps({"record": SCHEMA, **header}, allow_nan=False)


def section_line(name: str, section: Section) -> str:
    """The line that opens a section."""
    return json.dumps({"section": name, "facts": dict(section.facts), "columns": list(section.columns)})


def decision_columns(stages: Sequence[str], device_parts: Sequence[str]) -> tuple[str, ...]:
    """What a decision's row holds.

    Args:
        stages: keys of `Samples.stage_us`.
        device_parts: keys of `Samples.device_us`.
    """
    return (*ARRAYS, *(f"stage_us.{each}" for each in stages), *(f"device_us.{each}" for each in device_parts))


def _below(key: str, by_name: Mapping[str, object]) -> dict[str, object]:
    return {name[len(key) + 1 :]: each for name, each in by_name.items() if name.startswith(f"{key}.")}
