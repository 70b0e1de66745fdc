"""Run an agfedge bundle: two experts, chained by a prior and a confidence."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agfedge_runtime.bundle.bundle import Bundle
    from agfedge_runtime.bundle.router import Branch
    from agfedge_runtime.cascade.cascade import Cascade
    from agfedge_runtime.cascade.decisions import Decisions
    from agfedge_runtime.errors import AgfedgeError

__version__ = "0.1.0"
__all__ = [
    "AgfedgeError",
    "Branch",
    "Bundle",
    "Cascade",
    "Decisions",
]

_HOMES = {
    "AgfedgeError": "errors",
    "Branch": "bundle.router",
    "Bundle": "bundle.bundle",
    "Cascade": "cascade.cascade",
    "Decisions": "cascade.decisions",
}


def __getattr__(name: str) -> object:
    """Imports a public name, and numpy with it, when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module 'agfedge_runtime' has no attribute {name!r}")
    found: object = getattr(import_module(f"agfedge_runtime.{_HOMES[name]}"), name)
    globals()[name] = found
    return found
