"""What was measured: one file a point, each written whole, so that work that was stopped continues where it was."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from agfedge_runtime.atomic import write_text
from agfedge_runtime.errors import InputError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    class Keyed(DataclassInstance, Protocol):
        """A dataclass that names its own file."""

        @property
        def key(self) -> str:
            """Of letters, digits and what file names may hold."""


VERSION = 1
Point = TypeVar("Point", bound="Keyed")


class Store(Generic[Point]):
    """The points of one piece of work, in a folder."""

    def __init__(
        self, folder: Path, what: str, identity: Mapping[str, object], read: Callable[[Mapping[str, Any]], Point]
    ) -> None:
        """Opens the folder, or makes it.

        Args:
            folder: of the work.
            what: the work is, in a word, for messages.
            identity: what every point was measured with; points of other work are not mixed in.
            read: makes a point of what `dataclasses.asdict` made of it; raises ValueError or TypeError where it cannot.

        Raises:
            InputError: the folder holds points of other work.
        """
        self._points = folder / "points"
        self._what, self._read = what, read
        self._points.mkdir(parents=True, exist_ok=True)
        path = folder / "identity.json"
        text = json.dumps({"version": VERSION, **identity}, indent=1, sort_keys=True) + "\n"
        if not path.exists():
            write_text(path, text)
        elif (earlier := path.read_text(encoding="utf-8")) != text:
            raise InputError(
                f"{folder} holds points of another {what} ({_difference(earlier, text)}): choose another --out, "
                "or remove it"
            )

    def get(self, key: str) -> Point | None:
        """Returns a point that was measured already.

        Raises:
            InputError: its file is broken.
        """
        path = self._points / f"{key}.json"
        return self._load(path) if path.exists() else None

    def put(self, point: Point) -> None:
        """Writes a point, whole."""
        write_text(self._points / f"{point.key}.json", json.dumps(asdict(point), indent=1) + "\n")

    def all(self) -> list[Point]:
        """Returns every point, in the order of their names.

        Raises:
            InputError: a file is broken.
        """
        return [self._load(path) for path in sorted(self._points.glob("*.json"))]

    def _load(self, path: Path) -> Point:
        try:
            return self._read(json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:
            message = f"{path} is no point of a {self._what} ({error}): remove it to measure it again"
            raise InputError(message) from error


def _difference(earlier: str, text: str) -> str:
    try:
        old, new = json.loads(earlier), json.loads(text)
        key = next(key for key in sorted({*old, *new}) if old.get(key) != new.get(key))
    except (ValueError, AttributeError, StopIteration):
        return "its identity.json cannot be read"
    return f"{key} was {old.get(key)}, now {new.get(key)}"
