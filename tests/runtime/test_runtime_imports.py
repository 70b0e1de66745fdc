"""What a device needs to import the runtime: Python and NumPy."""

from __future__ import annotations

import pkgutil
import subprocess
import sys

import pytest

import agfedge_runtime
from agfedge_runtime import errors

MODULES = [
    "agfedge_runtime",
    *(module.name for module in pkgutil.walk_packages(agfedge_runtime.__path__, "agfedge_runtime.")),
]
# Stands in for a bare environment: what is neither the standard library, NumPy nor the runtime is not there.
BARE = """
import importlib, sys
THERE = {*sys.stdlib_module_names, "numpy", "agfedge_runtime"}
class NothingElse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] not in THERE:
            raise ModuleNotFoundError(f"no {name} in a bare environment", name=name)
sys.meta_path.insert(0, NothingElse())
for module in sys.argv[1:]:
    importlib.import_module(module)
"""


def test_every_module_imports_with_numpy_alone():
    assert len(MODULES) > 15
    subprocess.run([sys.executable, "-W", "error", "-c", BARE, *MODULES], check=True)


@pytest.mark.parametrize("name", ["onnx", "onnxruntime", "torch"])
def test_importing_the_runtime_imports_nothing_heavy(name):
    code = f"import agfedge_runtime.cli, sys; sys.exit({name!r} in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_public_names_are_sorted_and_there():
    assert agfedge_runtime.__all__ == sorted(agfedge_runtime.__all__)
    for name in agfedge_runtime.__all__:
        assert hasattr(agfedge_runtime, name)


def test_the_drawn_tree_of_errors_is_the_real_one():
    classes = {name for name, value in vars(errors).items() if isinstance(value, type)}
    drawn = {word for word in errors.__doc__.split() if word.endswith("Error")}
    assert drawn == classes
