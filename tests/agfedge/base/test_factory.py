from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agfedge.base.factory import resolve
from agfedge_runtime.errors import InputError

SOURCE = """
import dataclasses

NUMBER = 3

@dataclasses.dataclass
class Model:
    width: int = 4

def make_model():
    return Model()

def needs_width(width):
    return width

def breaks():
    raise RuntimeError("no\\nluck")
"""


@pytest.fixture(autouse=True)
def _clean_imports(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    modules = set(sys.modules)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield
    for name in set(sys.modules) - modules:
        del sys.modules[name]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "models_of_mine.py"
    path.write_text(SOURCE)
    return path


def test_a_file_and_a_name_give_the_factory(source: Path) -> None:
    made = resolve(f"{source}:make_model", "model")()

    assert type(made).__name__ == "Model"


def test_a_dotted_name_gives_the_factory() -> None:
    assert resolve("collections:OrderedDict", "data")() == {}


def test_a_dotted_name_is_found_in_the_working_folder(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(source.parent)

    assert type(resolve("models_of_mine:make_model", "model")()).__name__ == "Model"


def test_a_file_can_import_its_neighbour(source: Path) -> None:
    (source.parent / "entry_of_mine.py").write_text("from models_of_mine import make_model\n")

    assert type(resolve(f"{source.parent}/entry_of_mine.py:make_model", "model")()).__name__ == "Model"


def test_the_same_file_is_imported_once(source: Path) -> None:
    first = resolve(f"{source}:make_model", "model")()
    second = resolve(f"{source}:make_model", "model")()

    assert type(first) is type(second)


def test_a_folder_with_a_colon_in_its_name_is_no_obstacle(tmp_path: Path) -> None:
    folder = tmp_path / "a:b"
    folder.mkdir()
    (folder / "one.py").write_text("def make(): return 1\n")

    assert resolve(f"{folder}/one.py:make", "model")() == 1


@pytest.mark.parametrize("spec", ["", "models", "models:", ":make", ":"])
def test_a_spec_without_both_halves_is_refused(spec: str) -> None:
    with pytest.raises(InputError, match=r"give package\.module:name or path/to/file\.py:name"):
        resolve(spec, "model")


def test_a_module_that_is_not_there_is_named() -> None:
    with pytest.raises(InputError, match="no module 'no_such_package_of_mine'"):
        resolve("no_such_package_of_mine.models:make", "model")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no such file for the data factory: .*gone\.py"):
        resolve(f"{tmp_path}/gone.py:make", "data")


def test_a_missing_import_inside_the_file_is_told_apart_from_a_missing_file(source: Path) -> None:
    source.write_text("import no_such_dependency\n")

    with pytest.raises(InputError, match=r"fails on import: ModuleNotFoundError.*no_such_dependency"):
        resolve(f"{source}:make_model", "model")


def test_a_missing_import_inside_a_module_is_told_apart_from_a_missing_module(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(source.parent)
    source.write_text("import no_such_dependency\n")

    with pytest.raises(InputError, match=r"models_of_mine.*fails on import: .*no_such_dependency"):
        resolve("models_of_mine:make_model", "model")


def test_a_syntax_error_is_one_line(source: Path) -> None:
    source.write_text("def make(:\n")

    with pytest.raises(InputError, match="fails on import: SyntaxError") as caught:
        resolve(f"{source}:make", "model")

    assert "\n" not in str(caught.value)


def test_a_script_that_exits_on_import_is_refused(source: Path) -> None:
    source.write_text("raise SystemExit(2)\n")

    with pytest.raises(InputError, match="fails on import: SystemExit"):
        resolve(f"{source}:make", "model")


def test_a_misspelt_name_lists_close_ones(source: Path) -> None:
    with pytest.raises(InputError, match="did you mean make_model"):
        resolve(f"{source}:make_modle", "model")


def test_something_that_cannot_be_called_is_refused(source: Path) -> None:
    with pytest.raises(InputError, match="is of type int; give a function"):
        resolve(f"{source}:NUMBER", "model")


def test_a_factory_that_needs_arguments_is_refused(source: Path) -> None:
    with pytest.raises(InputError, match=r"needs_width\(width\) cannot be called without arguments"):
        resolve(f"{source}:needs_width", "model")


def test_what_a_factory_raises_becomes_one_line(source: Path) -> None:
    factory = resolve(f"{source}:breaks", "model")

    with pytest.raises(InputError, match="raised RuntimeError: no") as caught:
        factory()

    assert "\n" not in str(caught.value)
