"""Values that are read as a type, all the way down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import pytest

from agfedge_runtime.errors import InputError
from agfedge_runtime.strict_json import Document

DOCUMENT = Document("answer", InputError, "ask again")


@dataclass(frozen=True)
class Point:
    x: int
    y: float


@dataclass(frozen=True)
class Shape:
    name: str | None
    points: tuple[Point, ...]
    ends: tuple[int, str]
    sizes: dict[str, tuple[bool, ...]]
    notes: Sequence[str]
    extra: object


WHOLE = {
    "name": None, "points": [{"x": -1, "y": 2}], "ends": [1, "a"], "sizes": {"b": [True]}, "notes": ["n"], "extra": {},
}  # fmt: skip


def test_a_dataclass_is_read_with_all_in_it() -> None:
    read = DOCUMENT.read(Shape, WHOLE)

    assert read == Shape(None, (Point(-1, 2.0),), (1, "a"), {"b": (True,)}, ("n",), {})
    assert DOCUMENT.read(Point | None, asdict(Point(1, 2.5))) == Point(1, 2.5)
    assert DOCUMENT.read(type(None), None) is None


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"points": [{"x": 1, "y": 2}, {"x": True, "y": 2}]}, r"key points\[1\]\.x: expected an integer"),
        ({"points": [{"x": 1}]}, r"key points\[0\]\.y: missing"),
        ({"points": {}}, "key points: expected an array, got {}"),
        ({"ends": [1]}, r"key ends: expected an array of 2, got \[1\]"),
        ({"sizes": {"b": [1]}}, r"key sizes\.b\[0\]: expected true or false, got 1"),
        ({"name": 7}, "key name: expected a string, got 7"),
        ({"more": 7}, "key more: unknown; expected name, points"),
    ],
)
def test_what_is_of_another_type_is_refused_by_its_path(changed: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=rf"^answer: {message}.*; ask again$"):
        DOCUMENT.read(Shape, {**WHOLE, **changed})


def test_something_is_not_nothing() -> None:
    with pytest.raises(InputError, match=r"key \(root\): expected null, got 0"):
        DOCUMENT.read(type(None), 0)
