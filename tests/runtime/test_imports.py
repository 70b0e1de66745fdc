"""What a device needs to import the runtime: Python and NumPy."""

from __future__ import annotations

import ast
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import agfedge_runtime
from agfedge_runtime import errors

MODULES = [
    "agfedge_runtime",
    *(module.name for module in pkgutil.walk_packages(agfedge_runtime.__path__, "agfedge_runtime.")),
]
SOURCE = Path(agfedge_runtime.__file__).parent
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


def evaluated_subscripts(tree: ast.Module) -> Iterator[str]:
    """Subscripts of built-in types and of collections.abc outside annotations: Python 3.8 raises TypeError there."""
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    names = {alias.asname or alias.name for node in imports if node.module == "collections.abc" for alias in node.names}
    names |= {"dict", "frozenset", "list", "set", "tuple", "type"}
    annotations = [getattr(node, field, None) for node in ast.walk(tree) for field in ("annotation", "returns")]
    unevaluated = {id(part) for annotation in annotations if annotation is not None for part in ast.walk(annotation)}
    for node in ast.walk(tree):
        named = isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id in names
        if named and id(node) not in unevaluated:
            yield f"line {node.lineno}: {ast.unparse(node)}"


@pytest.mark.parametrize(
    "path", sorted(Path(agfedge_runtime.__file__).parent.rglob("*.py")), ids=lambda path: path.name
)
def test_python_3_8_can_evaluate_it(path):
    assert list(evaluated_subscripts(ast.parse(path.read_text()))) == []


def test_a_subscript_that_python_3_8_cannot_evaluate_is_seen():
    source = "from collections.abc import Mapping\nx: list[int] = []\nFeeds = Mapping[str, int]\ny = list[int]"
    assert list(evaluated_subscripts(ast.parse(source))) == ["line 3: Mapping[str, int]", "line 4: list[int]"]
