"""Tables for people, plain values for programs, and both from one result."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agfedge.pages.html import whole
from agfedge.pages.tables import Result, Table, markdown, plain


@dataclass(frozen=True)
class Point:
    x: float
    y: np.ndarray


@dataclass(frozen=True)
class Found(Result):
    number: int

    def blocks(self) -> Iterator[str | Table]:
        yield "a < b"
        yield Table(("name", "number"), [("<one>", self.number)])

    def to_dict(self) -> dict[str, Any]:
        return {"number": self.number}


def test_a_table_has_its_first_column_to_the_left_and_the_others_to_the_right() -> None:
    assert str(Table(("name", "MMACs"), [("a", 1), ("longer", "12.5")])).splitlines() == [
        "name    MMACs",
        "------  -----",
        "a           1",
        "longer   12.5",
    ]


def test_other_columns_may_be_flush_left() -> None:
    assert str(Table(("n", "what"), [("a", "x")], left=(1,))).splitlines()[-1] == "a  x"


def test_a_terminal_breaks_long_texts_of_the_last_column() -> None:
    table = Table(("n", "what"), [("a", "one two three"), ("b", "")], left=(1,), wrap=8)
    assert str(table).splitlines()[2:] == ["a  one two", "   three", "b"]
    assert "one two three" in table.html()


def test_a_table_without_rows_is_its_head() -> None:
    assert str(Table(("name",), [])) == "name\n----"


def test_title_and_note_stand_around_a_table_everywhere() -> None:
    table = Table(("a", "b"), [("x|y", "<1")], title="Above", note="Below.")
    assert str(table).splitlines() == ["Above", "a     b", "---  --", "x|y  <1", "Below."]
    assert table.html().startswith("<p>Above</p><table>")
    assert table.html().endswith("</table><p>Below.</p>")
    assert whole(table).startswith("<h3>Above</h3>")
    assert whole(table).endswith("<p>Below.</p>")
    assert markdown("Of", [table], ["first"]).split("\n\n") == [
        "## Of", "first", "**Above**", "| a | b |\n| --- | ---: |\n| x\\|y | &lt;1 |", "Below.\n",
    ]  # fmt: skip


def test_a_folded_table_is_opened_by_its_title() -> None:
    page = whole(Table(("a",), [("x",)], title="All", folded=True))
    assert page.startswith("<details><summary>All</summary>")


def test_a_terminal_that_lacks_a_letter_shows_a_question_mark(monkeypatch: pytest.MonkeyPatch) -> None:
    class Micro(Found):
        def blocks(self) -> Iterator[str | Table]:
            yield "5 µs → 6 µs"

    terminal = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    monkeypatch.setattr(sys, "stdout", terminal)
    Micro(1).write(as_json=False)
    terminal.flush()
    assert terminal.buffer.getvalue().decode("latin-1") == "5 µs ? 6 µs\n"


def test_a_result_prints_its_lines_and_tables() -> None:
    assert str(Found(3)).splitlines() == ["a < b", "name   number", "-----  ------", "<one>       3"]


def test_a_notebook_shows_a_result_as_html() -> None:
    page = Found(3)._repr_html_()
    assert "<p>a &lt; b</p>" in page
    assert '<td style="text-align: left">&lt;one&gt;</td>' in page


def test_a_result_is_json_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    Found(3).write(as_json=True)
    assert json.loads(capsys.readouterr().out) == {"number": 3}


def test_plain_takes_dataclasses_arrays_and_paths_and_has_no_nan() -> None:
    value = {
        "point": Point(float("nan"), np.array([1, 2])),
        "list": [np.float32(0.5), np.int64(3), True, None],
        "path": Path("a/b"),
        3: float("inf"),
    }
    assert plain(value) == {
        "point": {"x": None, "y": [1, 2]},
        "list": [0.5, 3, True, None],
        "path": "a/b",
        "3": None,
    }


def test_plain_arrays_keep_their_shape_and_lose_nan() -> None:
    assert plain(np.array([[1.0, np.nan], [2.0, 3.0]])) == [[1.0, None], [2.0, 3.0]]
