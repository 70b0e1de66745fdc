from __future__ import annotations

import ast
import hashlib
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import agfedge_runtime
from agfedge.targets.release import make_release
from agfedge.targets.remote import failure, parse_object, sources
from agfedge.targets.target import Completed
from agfedge_runtime.bundle.bundle import Bundle
from agfedge_runtime.releases import boot

WriteBundle = Callable[..., Bundle]


def test_a_release_lists_every_file_of_the_bundle_and_of_the_runtime(
    write_tiny_bundle: WriteBundle, tmp_path: Path
) -> None:
    release = make_release(write_tiny_bundle(tmp_path / "bundle"))

    package = Path(agfedge_runtime.__file__).parent
    sources = {f"runtime/agfedge_runtime/{path.relative_to(package)}" for path in package.rglob("*.py")}
    bundle = {f"bundle/{path.name}" for path in (tmp_path / "bundle").iterdir()}
    assert set(release.files) == sources | bundle | {"runtime/agfedge_runtime/py.typed"}


def test_a_release_knows_each_file_s_size_and_sha256(write_tiny_bundle: WriteBundle, tmp_path: Path) -> None:
    release = make_release(write_tiny_bundle(tmp_path / "bundle"))
    with release.runtime_folder() as runtime:
        places = {"bundle": release.bundle.path, "runtime": runtime}
        for name, record in release.files.items():
            folder, _, rest = name.partition("/")
            content = (places[folder] / rest).read_bytes()
            assert (len(content), hashlib.sha256(content).hexdigest()) == (record.size, record.sha256)


def test_the_same_content_has_the_same_name_and_other_content_another(
    write_tiny_bundle: WriteBundle, tmp_path: Path
) -> None:
    names = [
        make_release(write_tiny_bundle(tmp_path / f"bundle{n}", confidence)).name
        for n, confidence in enumerate((0.6, 0.6, 0.7))
    ]

    assert names[0] == names[1] != names[2]


@pytest.mark.parametrize("module", sorted(sources(small=True)))
def test_what_is_sent_to_the_target_imports_the_standard_library_alone(module: str) -> None:
    imported = f"sys.meta_path[:0] = [SentModules({dict(sources(small=True))!r})]\nimportlib.import_module({module!r})"
    program = f"{Path(boot.__file__).read_text()}\n{imported}"

    subprocess.run([sys.executable, "-I", "-S", "-"], input=program.encode(), check=True, capture_output=True)


def test_every_function_that_is_called_there_has_hints_that_python_3_8_reads() -> None:
    """A subscript of a built-in type, or a union by a bar, is no type there."""
    for path in sorted(Path(boot.__file__).parent.glob("*.py")):
        tree = ast.parse(path.read_text())
        functions = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name[0] != "_"]
        records = [node for node in ast.walk(tree) if isinstance(node, ast.AnnAssign)]
        hints = [argument.annotation for node in functions for argument in node.args.args]
        for hint in [
            ast.unparse(node) for node in (*hints, *(node.annotation for node in records)) if node is not None
        ]:
            assert not re.search(r"\b(dict|list|tuple)\[|\|", hint), (path.name, hint)


@pytest.mark.parametrize(
    ("stdout", "value"),
    [
        ('{"a": 1}\n', {"a": 1}),
        ('a warning\n{\n "a": 1\n}\n', {"a": 1}),
        ("nothing", None),
        ("", None),
        ("{", None),
    ],
)
def test_the_object_that_a_command_printed_is_found(stdout: str, value: object) -> None:
    assert parse_object(Completed(0, stdout, "")) == value


def test_a_failure_is_told_by_the_last_line() -> None:
    assert failure(Completed(1, "", "Traceback\n  line\nOSError: disk full\n")) == "exit code 1: OSError: disk full"
