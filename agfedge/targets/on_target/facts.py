"""What a host needs to know of a target before it ships anything."""

# ruff: noqa: UP006, UP035 -- the syntax of annotations that Python 3.6 reads

import importlib
import os
import platform
import shutil
import sys
from typing import List

from agfedge.targets.on_target.layout import RELEASES, Json, current, has_foreign_current


def preflight(release: str, modules: List[str]) -> Json:
    """Tell what is there; sizes in bytes. Nothing is written, and the folder need not be there."""
    return {
        "python": platform.python_version(),
        "executable": sys.executable,
        "machine": platform.machine(),
        "modules": {name: _version(name) for name in modules},
        "free": shutil.disk_usage(".").free,
        "present": _size(os.path.join(RELEASES, release)),
        "current": current(),
        "foreign_current": has_foreign_current(),
    }


def _version(name: str) -> Json:
    try:
        return {"version": str(getattr(importlib.import_module(name), "__version__", "unknown"))}
    except Exception as error:  # a broken package raises anything
        return {"error": type(error).__name__ + ": " + str(error)}


def _size(folder: str) -> int:
    return sum(os.lstat(os.path.join(place, name)).st_size for place, _, names in os.walk(folder) for name in names)
