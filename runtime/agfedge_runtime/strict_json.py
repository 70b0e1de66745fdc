"""JSON read strictly: no NaN, no duplicated key, no key more or less than asked for.

A `Document` knows what is being read and which error to raise; `Document.fields` opens one of its objects
and checks its keys, `Fields` hands out values by type. `Document.read` makes whole dataclasses from their type hints.
Every complaint names the path of the key (``router.prior.kind``).
"""

from __future__ import annotations

import collections.abc
import dataclasses
import json
import math
import types
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Callable, NoReturn, Sequence, Union, get_args, get_origin, get_type_hints

from agfedge_runtime.errors import AgfedgeError

_LARGEST = 2**63 - 1
_LONGEST_INTEGER = 20  # characters of -2**63
_UNIONS = (Union, getattr(types, "UnionType", Union))
_ARRAYS = (tuple, list, collections.abc.Sequence)
_OBJECTS = (dict, collections.abc.Mapping)


@dataclass(frozen=True)
class Document:
    """What is being read, and how to complain about it.

    Attributes:
        name: what messages call the document, for instance ``manifest.json``.
        error: the class to raise.
        hint: what the user can do about it; ends every message.
    """

    name: str
    error: type[AgfedgeError]
    hint: str

    def parse(self, text: str) -> object:
        """Read JSON text; NaN, infinities, duplicated keys and integers beyond 64 bits are refused."""
        try:
            return json.loads(
                text,
                object_pairs_hook=_unique,
                parse_constant=_no_constant,
                parse_float=_finite,
                parse_int=_bounded,
            )
        except RecursionError as error:
            raise self.error(f"{self.name}: nested too deeply; {self.hint}") from error
        except ValueError as error:
            raise self.error(f"{self.name}: not plain JSON: {error}; {self.hint}") from error

    def fail(self, path: str, message: str) -> NoReturn:
        """Raise the document's error about the key at `path`."""
        shown = path if path.isprintable() and len(path) <= 80 else shorten(path)
        raise self.error(f"{self.name}: key {shown or '(root)'}: {message}; {self.hint}")

    def mapping(self, value: object, path: str) -> dict[str, object]:
        """Check that `value` is a JSON object; its keys are free, but valid text."""
        if not isinstance(value, dict):
            self._mistyped(path, "an object", value)
        for key in value:
            self.text(key, path)
        return value

    def fields(self, value: object, path: str, keys: Sequence[str]) -> Fields:
        """Open the object at `path`, which must have exactly `keys`."""
        found = self.mapping(value, path)
        for key in keys:
            if key not in found:
                self.fail(_join(path, key), "missing")
        for key in found:
            if key not in keys:
                self.fail(_join(path, key), f"unknown; expected {', '.join(keys)}")
        return Fields(self, path, found)

    def array(self, value: object, path: str) -> list[object]:
        """Check that `value` is a JSON array."""
        if not isinstance(value, list):
            self._mistyped(path, "an array", value)
        return value

    def text(self, value: object, path: str) -> str:
        """Check that `value` is a string that can be written as UTF-8 (a lone surrogate cannot)."""
        if not isinstance(value, str):
            self._mistyped(path, "a string", value)
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            self._mistyped(path, "text that UTF-8 can hold", value)
        return value

    def integer(self, value: object, path: str, minimum: int = 0, maximum: int = _LARGEST) -> int:
        """Check that `value` is an integer within bounds; true and false are none."""
        if not isinstance(value, int) or isinstance(value, bool) or not minimum <= value <= maximum:
            self._mistyped(path, f"an integer from {minimum} to {maximum}", value)
        return value

    def number(self, value: object, path: str, minimum: float = -math.inf) -> float:
        """Check that `value` is a finite number of at least `minimum`; integers become floats."""
        if not isinstance(value, (int, float)) or isinstance(value, bool) or value < minimum:
            self._mistyped(path, "a number" if minimum == -math.inf else f"a number >= {minimum:g}", value)
        return float(value)

    def flag(self, value: object, path: str) -> bool:
        """Check that `value` is true or false."""
        if not isinstance(value, bool):
            self._mistyped(path, "true or false", value)
        return value

    def read(self, hint: Any, value: object, path: str = "") -> Any:
        """Check that `value` is what a type hint says, and return it with its dataclasses made.

        Args:
            hint: str, int, float, bool, a dataclass, object (anything), and tuples, sequences, dictionaries by text
                and options of these.
            value: as JSON has it.
            path: of the key, for messages.
        """
        origin, arguments = get_origin(hint), get_args(hint)
        if hint is object:
            return value
        if origin in _UNIONS:
            (inner,) = (argument for argument in arguments if argument is not type(None))
            return None if value is None else self.read(inner, value, path)
        if origin in _ARRAYS:
            return self._read_array(arguments, value, path)
        if origin in _OBJECTS:
            items = self.mapping(value, path).items()
            return {key: self.read(arguments[1], item, _join(path, key)) for key, item in items}
        if isinstance(hint, type) and dataclasses.is_dataclass(hint):
            hints = _hints_of(hint)
            fields = self.fields(value, path, tuple(hints))
            values = {key: self.read(inner, fields.values[key], fields.at(key)) for key, inner in hints.items()}
            return hint(**values)
        if hint is int:
            return self.integer(value, path, minimum=-_LARGEST)
        readers: dict[Any, Callable[[object, str], object]] = {
            str: self.text,
            float: self.number,
            bool: self.flag,
            type(None): self._nothing,
        }
        return readers[hint](value, path)

    def _read_array(self, arguments: tuple[Any, ...], value: object, path: str) -> tuple[Any, ...]:
        items = self.array(value, path)
        hints = arguments if len(arguments) > 1 and arguments[-1] is not Ellipsis else arguments[:1] * len(items)
        if len(hints) != len(items):
            self._mistyped(path, f"an array of {len(hints)}", value)
        return tuple(self.read(hint, item, f"{path}[{index}]") for index, (hint, item) in enumerate(zip(hints, items)))

    def _nothing(self, value: object, path: str) -> None:
        if value is not None:
            self._mistyped(path, "null", value)

    def _mistyped(self, path: str, expected: str, value: object) -> NoReturn:
        self.fail(path, f"expected {expected}, got {shorten(value)}")


@dataclass(frozen=True)
class Fields:
    """One object whose keys were checked; each method takes a key and answers its value, typed."""

    document: Document
    path: str
    values: dict[str, object]

    def at(self, key: str) -> str:
        """The path of `key`, for messages."""
        return _join(self.path, key)

    def text(self, key: str) -> str:
        """A string that is not empty."""
        return self.document.text(self.values[key], self.at(key)) or self.document.fail(self.at(key), "empty")

    def choice(self, key: str, known: Sequence[str]) -> str:
        """One of the strings in `known`."""
        value = self.document.text(self.values[key], self.at(key))
        if value not in known:
            self.document.fail(self.at(key), f"expected one of {', '.join(known)}, got {shorten(value)}")
        return value

    def integer(self, key: str, minimum: int = 0, maximum: int = _LARGEST) -> int:
        """An integer within bounds."""
        return self.document.integer(self.values[key], self.at(key), minimum, maximum)

    def number(self, key: str, minimum: float = -math.inf) -> float:
        """A finite number."""
        return self.document.number(self.values[key], self.at(key), minimum)

    def optional_number(self, key: str) -> float | None:
        """A finite number or null."""
        return None if self.values[key] is None else self.number(key)

    def flag(self, key: str) -> bool:
        """True or false."""
        return self.document.flag(self.values[key], self.at(key))

    def array(self, key: str) -> list[object]:
        """An array of anything."""
        return self.document.array(self.values[key], self.at(key))

    def numbers(self, key: str) -> tuple[float, ...]:
        """An array of finite numbers."""
        return tuple(self.document.number(value, self.at(key)) for value in self.array(key))

    def texts(self, key: str) -> tuple[str, ...]:
        """An array of strings."""
        return tuple(self.document.text(value, self.at(key)) for value in self.array(key))

    def mapping(self, key: str) -> dict[str, object]:
        """An object with free keys."""
        return self.document.mapping(self.values[key], self.at(key))

    def fields(self, key: str, keys: Sequence[str]) -> Fields:
        """An object with exactly `keys`."""
        return self.document.fields(self.values[key], self.at(key), keys)


@lru_cache(maxsize=None)
def _hints_of(kind: type) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def shorten(value: object) -> str:
    """A value as one line of at most 80 characters, for a message."""
    try:
        text = repr(value)
    except RecursionError:
        return f"a {type(value).__name__} nested too deeply to be shown"
    return text if len(text) <= 80 else text[:77] + "..."


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found: dict[str, object] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"key {shorten(key)} appears twice")
        found[key] = value
    return found


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{shorten(text)} is beyond a double")
    return value


def _bounded(text: str) -> int:
    if len(text) > _LONGEST_INTEGER or abs(int(text)) > _LARGEST:
        raise ValueError(f"{shorten(text)} is beyond 64 bits")
    return int(text)
