from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import vermin

import agfedge_runtime
from agfedge.targets import on_target
from agfedge.targets.release import make_release
from agfedge.targets.remote import failure, on_target_sources, parse_object
from agfedge.targets.target import Completed
from agfedge_runtime.bundle.bundle import Bundle

WriteBundle = Callable[..., Bundle]
ON_TARGET = sorted(Path(on_target.__path__[0]).glob("[a-z]*.py"))
BOOT = Path(on_target.__path__[0], "boot.py")


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


@pytest.mark.parametrize("module", ON_TARGET, ids=lambda path: path.stem)
def test_what_is_sent_to_the_target_is_read_by_an_old_python(module: Path) -> None:
    _, version = vermin.detect(module.read_text())

    assert version <= (3, 6)


@pytest.mark.parametrize("module", sorted({*ON_TARGET} - {BOOT}), ids=lambda path: path.stem)
def test_what_is_sent_to_the_target_imports_the_standard_library_alone(module: Path) -> None:
    name = f"{on_target.__name__}.{module.stem}"
    imported = f"sys.meta_path[:0] = [Sources({dict(on_target_sources())!r})]\nimportlib.import_module({name!r})"
    program = f"{BOOT.read_text()}\n{imported}"

    subprocess.run([sys.executable, "-I", "-S", "-"], input=program.encode(), check=True, capture_output=True)


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
