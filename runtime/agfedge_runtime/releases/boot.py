"""The program that is sent to a target: modules that are imported from memory, and the one call that is made.

It is sent as text, before there is anything to import.
"""

# ruff: noqa: FA100 -- what is executed as text follows other text

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import runpy
import sys
from typing import Dict, List, Optional

RUNTIME = "agfedge_runtime"


class SentModules(importlib.abc.InspectLoader):
    """Imports modules from their sources, by full name; a module with others below it is a package."""

    def __init__(self, sources: Dict[str, str]) -> None:
        self.sources = sources

    def get_source(self, fullname: str) -> Optional[str]:
        """See `importlib.abc.InspectLoader`."""
        return self.sources[fullname]

    def is_package(self, fullname: str) -> bool:
        """See `importlib.abc.InspectLoader`."""
        return any(name.startswith(fullname + ".") for name in self.sources)

    def find_spec(self, fullname: str, *_: object) -> Optional[importlib.machinery.ModuleSpec]:
        """See `importlib.abc.MetaPathFinder`."""
        return importlib.util.spec_from_loader(fullname, self) if fullname in self.sources else None


def call(sources: Dict[str, str], module: str, function: str, arguments: Dict[str, object]) -> None:
    """Call a function of one of the modules, and print what it returns; see `agfedge_runtime.releases.calls`."""
    os.umask(os.umask(0o077) | 0o022)  # whatever it is here, nobody else writes to what is made
    sys.meta_path.insert(0, SentModules(sources))
    answer = importlib.import_module(f"{RUNTIME}.releases.calls").answer
    sys.stdout.write(answer(module, function, arguments) + "\n")


def run_release(folder: str, words: List[str]) -> None:
    """Become ``agfedge-runtime`` of a release, which prints and exits; ``{bundle}`` stands for the release's bundle.

    Raises:
        ImportError: another runtime would run.
    """
    os.umask(os.umask(0o077) | 0o022)
    root = os.path.join(os.getcwd(), folder)
    runtime = os.path.join(root, "runtime")
    sys.dont_write_bytecode = True
    sys.path.insert(0, runtime)
    place = importlib.import_module(RUNTIME).__file__ or ""
    if not place.startswith(runtime + os.sep):
        raise ImportError(f"{RUNTIME} was imported from {place}, not from the release")
    sys.argv = ["agfedge-runtime", *(os.path.join(root, "bundle") if word == "{bundle}" else word for word in words)]
    runpy.run_module(RUNTIME, run_name="__main__", alter_sys=True)
