from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from agfedge.deploy import Completed, DeployError, deploy
from agfedge.deploy.local import LocalTarget
from agfedge.deploy.preflight import check_preflight
from agfedge.deploy.release import Release, make_release
from agfedge_runtime.bundle import Bundle


@pytest.fixture
def release(write_tiny_bundle: Callable[..., Bundle], tmp_path: Path) -> Release:
    return make_release(write_tiny_bundle(tmp_path / "bundle"))


class Altered(LocalTarget):
    """This machine, with some of its facts changed."""

    def __init__(self, folder: Path, **changed: object) -> None:
        super().__init__(folder)
        self._changed = changed

    def run(self, argv: Sequence[str], *, stdin: bytes = b"", env: Mapping[str, str] | None = None) -> Completed:
        done = super().run(argv, stdin=stdin, env=env)
        return dataclasses.replace(done, stdout=json.dumps({**json.loads(done.stdout), **self._changed}))


def test_facts_of_a_fit_target(release: Release, tmp_path: Path) -> None:
    facts = check_preflight(LocalTarget(tmp_path), release)

    assert facts.python == ".".join(map(str, sys.version_info[:3]))
    assert set(facts.backends) == {"onnxruntime"}
    assert facts.free_bytes > 0
    assert facts.current is None
    assert facts.summary().startswith(f"Python {facts.python}")


def test_an_old_python_is_told(release: Release, tmp_path: Path) -> None:
    with pytest.raises(DeployError, match=r"is Python 3\.6\.9; expected 3\.8 or later"):
        check_preflight(Altered(tmp_path, python="3.6.9"), release)


def test_a_newer_python_with_two_digits_is_no_older(release: Release, tmp_path: Path) -> None:
    assert check_preflight(Altered(tmp_path, python="3.10.12"), release).python == "3.10.12"


def test_too_little_space_is_told(release: Release, tmp_path: Path) -> None:
    with pytest.raises(DeployError, match=r"0 MB are free there; expected 17 MB"):
        check_preflight(Altered(tmp_path, free=100), release)


def test_what_is_there_already_needs_no_space(release: Release, tmp_path: Path) -> None:
    free = 16 * 2**20 + 1

    with pytest.raises(DeployError, match="free some space"):
        check_preflight(Altered(tmp_path, free=free), release)
    check_preflight(Altered(tmp_path, free=free, present=release.size), release)


def test_a_missing_numpy_names_the_command(release: Release, tmp_path: Path) -> None:
    python = tmp_path / "bare-python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')  # -S: without site-packages
    python.chmod(0o755)

    with pytest.raises(DeployError, match=r"numpy cannot be imported .*run there: .* -m pip install numpy"):
        check_preflight(LocalTarget(tmp_path, str(python)), release)


def test_a_missing_backend_names_the_command(release: Release, tmp_path: Path) -> None:
    gone = {"error": "ModuleNotFoundError: gone"}
    modules = {"numpy": {"version": "2.0"}, "onnxruntime": gone, "tensorrt": {"version": "10.3.0"}, "pycuda": gone}

    with pytest.raises(DeployError, match=r"no backend .*gone\); run there: .* -m pip install onnxruntime"):
        check_preflight(Altered(tmp_path, modules=modules), release)


def test_tensorrt_and_pycuda_are_a_backend(release: Release, tmp_path: Path) -> None:
    modules = {
        "numpy": {"version": "2.0"},
        "onnxruntime": {"error": "ModuleNotFoundError: gone"},
        "tensorrt": {"version": "10.3.0"},
        "pycuda": {"version": "2025.1"},
    }

    found = check_preflight(Altered(tmp_path, modules=modules), release)
    assert found.backends == {"tensorrt": "10.3.0, 2025.1"}


def test_a_python_that_is_not_there_is_told(release: Release, tmp_path: Path) -> None:
    with pytest.raises(DeployError, match=r"preflight failed: .*cannot run no-such-python"):
        deploy(release.bundle.path, LocalTarget(tmp_path / "device", "no-such-python"))


def test_a_python_that_fails_is_quoted(release: Release, tmp_path: Path) -> None:
    with pytest.raises(DeployError, match="preflight failed: exit code 1: no message"):
        deploy(release.bundle.path, LocalTarget(tmp_path / "device", "false"))
