"""Which optional packages this Python can import, and their versions."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from types import ModuleType
from typing import Callable

from agfedge_runtime.errors import one_line

Importer = Callable[[str], ModuleType]

# What each is imported by: pycuda itself imports without a driver, its driver module does not.
_IMPORTED_BY = {"pycuda": "pycuda.driver"}


@dataclass(frozen=True)
class Package:
    """A package, imported or not.

    Attributes:
        name: of its module.
        version: empty where it cannot be imported.
        problem: why it cannot, in one line; empty where it can.
    """

    name: str
    version: str
    problem: str


def find_package(name: str, importer: Importer = importlib.import_module) -> Package:
    """Import a package and ask for its version; never raises.

    Args:
        name: of its module, for instance ``pycuda``.
        importer: stands in for `importlib.import_module`.
    """
    try:
        module = importer(_IMPORTED_BY.get(name, name))
        version = _version(module if name not in _IMPORTED_BY else importer(name))
    except Exception as error:  # A broken binary raises whatever it likes when it is imported.
        if isinstance(error, ModuleNotFoundError) and error.name == name:
            return Package(name, "", f"{name} is not installed")
        return Package(name, "", f"{name} cannot be imported ({one_line(error)})")
    if not version:
        # What an incomplete removal leaves behind imports as an empty package.
        return Package(name, "", f"{name} is an empty folder without a version; remove it and install it again")
    return Package(name, version, "")


def find_providers(importer: Importer = importlib.import_module) -> tuple[str, ...]:
    """ONNX Runtime's execution providers, best first; none where it cannot be imported. Never raises."""
    try:
        return tuple(str(name) for name in importer("onnxruntime").get_available_providers())
    except Exception:  # As above.
        return ()


def _version(module: ModuleType) -> str:
    return str(getattr(module, "__version__", getattr(module, "VERSION_TEXT", "")))
