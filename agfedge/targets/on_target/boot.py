"""The program that is sent: modules that are imported from memory, and the one call that is made."""

# ruff: noqa: UP006, UP035, UP045 -- the syntax of annotations that Python 3.6 reads

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import sys
from typing import Dict, Optional


class Sources(importlib.abc.InspectLoader):
    """Imports modules from their sources, by full name; a module with others below it is a package."""

    def __init__(self, sources: Dict[str, str]) -> None:
        self.sources = sources

    def get_source(self, fullname: str) -> Optional[str]:
        """See `importlib.abc.InspectLoader`."""
        return self.sources[fullname]

    def is_package(self, fullname: str) -> bool:
        """See `importlib.abc.InspectLoader`."""
        return any(each.startswith(fullname + ".") for each in self.sources)

    def find_spec(self, fullname: str, *_: object) -> Optional[importlib.machinery.ModuleSpec]:
        """See `importlib.abc.MetaPathFinder`."""
        return importlib.util.spec_from_loader(fullname, self) if fullname in self.sources else None


def call(sources: Dict[str, str], module: str, function: str, arguments: Dict[str, object]) -> None:
    """Call a function of one of the modules, and print what it returns as JSON."""
    os.umask(os.umask(0o077) | 0o022)  # whatever it is here, nobody else writes to what is made
    sys.meta_path.insert(0, Sources(sources))
    found = getattr(importlib.import_module(module), function)(**arguments)
    sys.stdout.write(json.dumps(found) + "\n")
