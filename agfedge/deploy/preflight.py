"""What a target must have before anything is shipped to it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypedDict, cast

from agfedge.deploy.errors import DeployError
from agfedge.deploy.release import Release
from agfedge.deploy.remote import call_function
from agfedge.deploy.target import Target

MIN_PYTHON = (3, 8)
# The modules that each backend of the runtime imports, and how to get them; one backend is enough.
BACKENDS: Mapping[str, tuple[str, ...]] = {"onnxruntime": ("onnxruntime",), "tensorrt": ("tensorrt", "pycuda")}
# A file system needs some room of its own beyond the files' bytes.
SPARE_BYTES = 16 * 2**20


class _Module(TypedDict, total=False):
    version: str
    error: str


class _Facts(TypedDict):
    """What ``on_target.facts.preflight`` returns."""

    python: str
    executable: str
    machine: str
    modules: dict[str, _Module]
    free: int
    present: int
    current: str | None
    foreign_current: bool


@dataclass(frozen=True)
class Preflight:
    """Facts of a target that is fit for a release.

    Attributes:
        python: Version of its Python.
        machine: Its processor's architecture.
        numpy: Version of NumPy there.
        backends: Versions of the backends' modules there, by backend.
        free_bytes: Free space on its disk.
        current: The release that runs there now, if any.
    """

    python: str
    machine: str
    numpy: str
    backends: Mapping[str, str]
    free_bytes: int
    current: str | None

    def summary(self) -> str:
        """Return the facts in one line."""
        backends = ", ".join(f"{name} {version}" for name, version in self.backends.items())
        free = f"{self.free_bytes / 1e9:.1f} GB free"
        return f"Python {self.python} ({self.machine}), numpy {self.numpy}, {backends}, {free}"


def check_preflight(target: Target, release: Release) -> Preflight:
    """Ask a target what it has.

    Raises:
        DeployError: Something is missing; the message says how to get it.
    """
    modules = ["numpy", *(module for modules in BACKENDS.values() for module in modules)]
    facts = cast(_Facts, call_function(target, "facts.preflight", release=release.name, modules=modules))
    _check_python(facts)
    _check_current(facts)
    _check_numpy(facts)
    backends = _backends(facts)
    _check_space(facts, release)
    return Preflight(
        python=facts["python"],
        machine=facts["machine"],
        numpy=facts["modules"]["numpy"]["version"],
        backends=backends,
        free_bytes=facts["free"],
        current=facts["current"],
    )


def _check_python(facts: _Facts) -> None:
    version = tuple(int(number) for number in re.findall(r"\d+", facts["python"])[:2])
    if version < MIN_PYTHON:
        expected = ".".join(map(str, MIN_PYTHON))
        raise DeployError(f"{facts['executable']} there is Python {facts['python']}; expected {expected} or later")


def _check_current(facts: _Facts) -> None:
    if facts["foreign_current"]:
        raise DeployError("`current` there was not made by a deploy; remove it, or give another folder")


def _check_numpy(facts: _Facts) -> None:
    error = facts["modules"]["numpy"].get("error")
    if error is not None:
        raise DeployError(f"numpy cannot be imported there ({error}); run there: {_pip(facts, 'numpy')}")


def _backends(facts: _Facts) -> dict[str, str]:
    found = {
        backend: ", ".join(facts["modules"][module].get("version", "") for module in modules)
        for backend, modules in BACKENDS.items()
        if all("error" not in facts["modules"][module] for module in modules)
    }
    if not found:
        backend, modules = next(iter(BACKENDS.items()))
        error = next(facts["modules"][module]["error"] for module in modules if "error" in facts["modules"][module])
        raise DeployError(f"no backend can be imported there ({backend}: {error}); run there: {_pip(facts, *modules)}")
    return found


def _pip(facts: _Facts, *packages: str) -> str:
    return f"{facts['executable']} -m pip install {' '.join(packages)}"


def _check_space(facts: _Facts, release: Release) -> None:
    needed = release.size - facts["present"] + SPARE_BYTES
    if facts["free"] < needed:
        raise DeployError(
            f"{facts['free'] / 1e6:.0f} MB are free there; expected {needed / 1e6:.0f} MB: free some space"
        )
