"""The shipped runtime's own commands, run from the release that was verified before."""

# ruff: noqa: UP006, UP035 -- the syntax of annotations that Python 3.6 reads

import importlib
import os
import runpy
import sys
from typing import List

from agfedge.targets.on_target.layout import RELEASES


def command(release: str, words: List[str]) -> None:
    """Become ``agfedge-runtime``, which prints and exits; ``{bundle}`` stands for the release's bundle.

    Raises:
        ImportError: another runtime would run.
    """
    root = os.path.join(os.getcwd(), RELEASES, release)
    runtime = os.path.join(root, "runtime")
    sys.dont_write_bytecode = True
    sys.path.insert(0, runtime)
    where = importlib.import_module("agfedge_runtime").__file__ or ""
    if not where.startswith(runtime + os.sep):
        raise ImportError("agfedge_runtime was imported from " + where + ", not from the release")
    sys.argv = ["agfedge-runtime", *(os.path.join(root, "bundle") if word == "{bundle}" else word for word in words)]
    runpy.run_module("agfedge_runtime", run_name="__main__", alter_sys=True)
