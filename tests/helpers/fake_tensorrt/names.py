"""The names of each version, and classes and enums that have these and no others."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fake_tensorrt import FakeTensorRt

_API = Path(__file__).parents[2] / "data" / "tensorrt-api.json"
ENUMS = {
    "BuilderFlag": {}, "DataType": {}, "DeviceType": {}, "EngineCapability": {}, "HardwareCompatibilityLevel": {},
    "ExecutionContextAllocationStrategy": {}, "MemoryPoolType": {}, "OnnxParserFlag": {}, "PreviewFeature": {},
    "ProfilingVerbosity": {}, "QuantizationFlag": {}, "TacticSource": {}, "TensorIOMode": {}, "TensorLocation": {},
    "NetworkDefinitionCreationFlag": {"EXPLICIT_BATCH": 0, "EXPLICIT_PRECISION": 1, "STRONGLY_TYPED": 1},
    "Severity": {"INTERNAL_ERROR": 0, "ERROR": 1, "WARNING": 2, "INFO": 3, "VERBOSE": 4},
}  # fmt: skip


@functools.cache
def names_of(version: str) -> dict[str, list[str]]:
    """The names that a version's classes and enums define."""
    api: dict[str, dict[str, dict[str, list[str]]]] = json.loads(_API.read_text())
    return api["versions"][version]


class EnumValue:
    """A member of a pybind11 enum: hashable, comparable, and a number on request."""

    def __init__(self, kind: str, name: str, value: int) -> None:
        self.kind, self.name, self.value = kind, name, value

    def __int__(self) -> int:
        return self.value

    def __index__(self) -> int:
        return self.value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, EnumValue) and (self.kind, self.name) == (other.kind, other.name)

    def __hash__(self) -> int:
        return hash((self.kind, self.name))

    def __lt__(self, other: EnumValue) -> bool:
        return self.value < other.value

    def __repr__(self) -> str:
        return f"{self.kind}.{self.name}"


def enum_of(kind: str, names: list[str], values: Mapping[str, int]) -> type:
    members = {name: EnumValue(kind, name, values.get(name, index)) for index, name in enumerate(names)}
    return type(kind, (), {**members, "__members__": members})


def restricted(fake: FakeTensorRt, kind: str, implementation: type, allowed: list[str]) -> type:
    """The class with the members that the version has, and no other."""
    body: dict[str, object] = {"_fake": fake, "__doc__": implementation.__doc__}
    for name, member in vars(implementation).items():
        if name.startswith("_") and name not in ("__dict__", "__weakref__", "__doc__"):
            body[name] = member
        elif name in allowed:
            body[name] = _recorded(fake, f"{kind}.{name}", member) if callable(member) else member
    for name in allowed:
        body.setdefault(name, _Missing(f"{kind}.{name}"))
    return type(kind, implementation.__bases__, body)


def _recorded(fake: FakeTensorRt, name: str, method: Callable[..., object]) -> Callable[..., object]:
    @functools.wraps(method)
    def recorded(self: object, *arguments: object, **named: object) -> object:
        fake.calls.append((name, (*arguments, *named.values())))
        return method(self, *arguments, **named)

    return recorded


class _Missing:
    """A name that the version has and the fake does not imitate."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, instance: object, owner: type) -> object:
        if instance is None:
            return self
        raise NotImplementedError(f"the fake does not imitate {self._name}")


class Strict:
    """Refuses attributes that the version's class does not have, as pybind11's objects do."""

    _fake: FakeTensorRt

    def __setattr__(self, name: str, value: object) -> None:
        if not name.startswith("_") and not hasattr(type(self), name):
            raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")
        object.__setattr__(self, name, value)
