"""Tables and JSON on stdout."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from agfedge.cli.output import plain, print_json, print_table


@dataclass(frozen=True)
class Point:
    x: float
    y: np.ndarray


def test_a_table_has_its_first_column_to_the_left_and_the_others_to_the_right(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_table(("name", "MMACs"), [("a", 1), ("longer", "12.5")])
    assert capsys.readouterr().out.splitlines() == [
        "name    MMACs",
        "------  -----",
        "a           1",
        "longer   12.5",
    ]


def test_a_table_without_rows_is_its_head(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("name",), [])
    assert capsys.readouterr().out == "name\n----\n"


def test_json_takes_dataclasses_arrays_and_paths_and_has_no_nan(capsys: pytest.CaptureFixture[str]) -> None:
    value = {
        "point": Point(float("nan"), np.array([1, 2])),
        "list": [np.float32(0.5), np.int64(3), True, None],
        "path": Path("a/b"),
        3: float("inf"),
    }
    print_json(value)
    assert json.loads(capsys.readouterr().out) == {
        "point": {"x": None, "y": [1, 2]},
        "list": [0.5, 3, True, None],
        "path": "a/b",
        "3": None,
    }


def test_plain_arrays_keep_their_shape_and_lose_nan() -> None:
    assert plain(np.array([[1.0, np.nan], [2.0, 3.0]])) == [[1.0, None], [2.0, 3.0]]
