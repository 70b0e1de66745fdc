"""agfedge: prune a light expert out of a trained vision model, and run both as a measured cascade.

    import agfedge

    result = agfedge.export(model, {"train": train, "test": test}, "bundle", keep=0.5, epochs=10)
    agfedge.deploy("bundle", "user@jetson:/opt/classifier")
    print(agfedge.profile("bundle", on="user@jetson:/opt/classifier", data="photos/test"))

Every function is a command as well, and its keywords are the flags: `agfedge export --help`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from agfedge.base import __version__ as __version__

if TYPE_CHECKING:
    from agfedge.commands.calibrate import calibrate
    from agfedge.commands.compare import compare
    from agfedge.commands.deploy import deploy
    from agfedge.commands.devices import devices
    from agfedge.commands.export import export
    from agfedge.commands.inspect import inspect
    from agfedge.commands.logs import logs
    from agfedge.commands.profile import profile
    from agfedge.commands.prune import prune
    from agfedge.commands.report import report
    from agfedge.commands.rollback import rollback
    from agfedge.commands.score import score
    from agfedge.commands.search import search
    from agfedge.commands.sign import sign, verify
    from agfedge.commands.status import status
    from agfedge_runtime import AgfedgeError, Branch, Cascade

__all__ = [
    "AgfedgeError",
    "Branch",
    "Cascade",
    "calibrate",
    "compare",
    "deploy",
    "devices",
    "export",
    "inspect",
    "logs",
    "profile",
    "prune",
    "report",
    "rollback",
    "score",
    "search",
    "sign",
    "status",
    "verify",
]

_HOMES = {
    "AgfedgeError": "agfedge_runtime",
    "Branch": "agfedge_runtime",
    "Cascade": "agfedge_runtime",
    "verify": "agfedge.commands.sign",
}


def __getattr__(name: str) -> object:
    """Imports a public name when it is first used: importing agfedge costs nothing."""
    if name not in __all__:
        raise AttributeError(f"module 'agfedge' has no attribute {name!r}")
    value: object = getattr(import_module(_HOMES.get(name, f"agfedge.commands.{name}")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
