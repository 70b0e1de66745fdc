"""The house: imports run one way, the runtime needs numpy alone, public faces are explicit."""

from __future__ import annotations

import ast
import importlib
import shutil
import subprocess
import sys
import venv
from graphlib import TopologicalSorter
from pathlib import Path

import grimp
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = {
    "agfedge": ROOT / "agfedge",
    "agfedge_export": ROOT / "export" / "agfedge_export",
    "agfedge_profiles": ROOT / "profiles" / "agfedge_profiles",
    "agfedge_runtime": ROOT / "runtime" / "agfedge_runtime",
}
FILES = {path: ast.parse(path.read_text()) for package in PACKAGES.values() for path in sorted(package.rglob("*.py"))}
# Where a prior or a confidence may be compared with its threshold: the rule, and the path for one row that repeats it.
ROUTING = {"runtime/agfedge_runtime/bundle/router.py", "runtime/agfedge_runtime/cascade/cascade.py"}
ORDERS = (ast.Lt, ast.LtE, ast.Gt, ast.GtE)


def imported_names(path: Path) -> set[str]:
    """First parts of what a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module.split(".")[0])
    return found


def test_every_layer_imports_what_stands_below_it() -> None:
    """The contracts of pyproject.toml; imports for types alone count."""
    # In a process of its own: it switches off all loggers that are there.
    program = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_no_files_import_each_other_in_a_circle() -> None:
    graph = grimp.build_graph(*PACKAGES, cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    TopologicalSorter(imports).prepare()  # raises and names a circle


def test_no_class_name_is_given_twice() -> None:
    homes: dict[str, list[str]] = {}
    for path, tree in FILES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                homes.setdefault(node.name, []).append(str(path.relative_to(ROOT)))
    assert {name: files for name, files in homes.items() if len(files) > 1} == {}


def test_thresholds_are_compared_in_the_router_alone() -> None:
    """What else decides asks `Router.route`, or the functions beside it."""
    elsewhere = {
        f"{path.relative_to(ROOT)}:{node.lineno}": ast.unparse(node)
        for path, tree in FILES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Compare)
        and isinstance(node.ops[0], ORDERS)
        and any(
            "threshold" in ast.unparse(side) and not isinstance(side, ast.Call)
            for side in (node.left, *node.comparators)
        )
    }
    assert {place: text for place, text in elsewhere.items() if place.split(":")[0] not in ROUTING} == {}


def test_tests_never_import_from_benchmarks() -> None:
    """By no name: neither the folder's nor one of its modules, which lie beside no test."""
    benchmarks = {"benchmarks", *(path.stem for path in (ROOT / "benchmarks").glob("*.py"))}
    assert {
        str(path.relative_to(ROOT)): names
        for path in (ROOT / "tests").rglob("*.py")
        if (names := imported_names(path) & benchmarks)
    } == {}


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_every_package_is_typed(package: str) -> None:
    assert (PACKAGES[package] / "py.typed").is_file()


@pytest.mark.parametrize("package", ["agfedge_export", "agfedge_profiles", "agfedge_runtime"])
def test_public_names_are_explicit_and_sorted(package: str) -> None:
    module = importlib.import_module(package)
    assert list(module.__all__) == sorted(module.__all__)
    assert all(hasattr(module, name) for name in module.__all__)


def test_the_runtime_imports_in_a_bare_environment_with_numpy_alone(tmp_path: Path) -> None:
    """A virtual environment that holds numpy, and a copy of the runtime's source: what a device has."""
    venv.create(tmp_path / "venv", with_pip=False)
    python = tmp_path / "venv" / "bin" / "python"
    where = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    site = Path(where.stdout.strip())
    numpy_folder = Path(np.__file__).parent
    for folder in (numpy_folder, numpy_folder.parent / "numpy.libs"):
        if folder.is_dir():
            (site / folder.name).symlink_to(folder)
    shutil.copytree(PACKAGES["agfedge_runtime"], tmp_path / "agfedge_runtime")
    program = (
        "import pkgutil, importlib, agfedge_runtime as package\n"
        "names = [each.name for each in pkgutil.walk_packages(package.__path__, 'agfedge_runtime.')]\n"
        "[importlib.import_module(name) for name in names if not name.endswith('__main__')]\n"
        "print(len(names))\n"
    )
    done = subprocess.run([python, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 10


def test_light_commands_do_not_import_torch_or_onnx() -> None:
    program = (
        "import sys\n"
        "from agfedge.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'onnx', 'onnxruntime', 'scipy', 'sklearn', 'PIL'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
