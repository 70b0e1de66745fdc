from __future__ import annotations

import dataclasses
import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import vermin

from agfedge.targets import Completed, DeployError, deploy
from agfedge.targets.local import LocalTarget
from agfedge.targets.preflight import check_preflight
from agfedge.targets.release import Release, make_release
from agfedge.targets.remote import CHECK
from agfedge_profiles import device_names
from agfedge_runtime.bundle.bundle import Bundle
from machines import MACHINES, RecordedMachine


@pytest.fixture
def release(write_tiny_bundle: Callable[..., Bundle], tmp_path: Path) -> Release:
    return make_release(write_tiny_bundle(tmp_path / "bundle"))


class Altered(LocalTarget):
    """This machine with some of its facts changed, or another one as `machines` has it recorded."""

    def __init__(self, folder: Path, machine: RecordedMachine | None = None, **changed: object) -> None:
        super().__init__(folder)
        self._changed = changed
        self._report = None if machine is None else dataclasses.asdict(machine.check(folder / "its files"))

    def run(
        self, argv: Sequence[str], *, stdin: bytes = b"", env: Mapping[str, str] | None = None, anywhere: bool = False
    ) -> Completed:
        done = super().run(argv, stdin=stdin, env=env, anywhere=anywhere)
        answer = json.loads(done.stdout)["answer"]
        if "verdicts" in answer:
            answer = answer if self._report is None else self._report
        else:
            answer |= self._changed
        return dataclasses.replace(done, stdout=json.dumps({"answer": answer}))


def test_facts_of_a_fit_target(release: Release, tmp_path: Path) -> None:
    facts = check_preflight(LocalTarget(tmp_path), release)

    assert facts.python == ".".join(map(str, sys.version_info[:3]))
    assert facts.packages["numpy"] == np.__version__
    assert (facts.backend, facts.profile) == ("onnxruntime", "generic")
    assert facts.free_bytes > 0
    assert facts.current is None
    assert re.match(rf"onnxruntime \S+ on generic; Python {re.escape(facts.python)} \(", facts.summary())


def test_a_target_that_is_not_there_yet_is_looked_at_and_not_made(release: Release, tmp_path: Path) -> None:
    check_preflight(LocalTarget(tmp_path / "not" / "yet"), release)

    assert list(tmp_path.iterdir()) == [release.bundle.path]


def test_an_old_python_is_told(release: Release, tmp_path: Path) -> None:
    python = tmp_path / "old-python"
    # It has what `-c` gives it run as by a Python 3.6.9.
    old = "import sys; sys.version_info = (3, 6, 9, 'final', 0)"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{old}; $2"\n')
    python.chmod(0o755)

    with pytest.raises(DeployError, match=r"^/\S+ there is Python 3\.6\.9; expected 3\.8 or later$"):
        check_preflight(LocalTarget(tmp_path, str(python)), release)


def test_the_word_to_an_old_python_is_read_by_any() -> None:
    assert vermin.detect(CHECK)[1] <= (3, 0)


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"free": "much"}, r"key answer\.free: expected an integer from .*, got 'much'"),
        ({"free": None}, r"key answer\.free: expected an integer"),
        ({"surprise": 1}, r"key answer\.surprise: unknown"),
        ({"current": 3}, r"key answer\.current: expected a string, got 3"),
        ({"foreign_current": "no"}, r"key answer\.foreign_current: expected true or false"),
    ],
)
def test_an_answer_that_makes_no_sense_is_one_line(
    release: Release, tmp_path: Path, changed: dict[str, object], complaint: str
) -> None:
    with pytest.raises(DeployError, match=f"the target's answer: {complaint}.*; deploy again") as raised:
        check_preflight(Altered(tmp_path, **changed), release)
    assert len(str(raised.value).splitlines()) == 1


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


@pytest.mark.parametrize(
    ("name", "profile", "jetpack", "mode", "backend"),
    [
        ("orin-nano-jetpack-6.2", "jetson-orin-nano-8", "6.2", "MAXN_SUPER", "tensorrt"),
        ("agx-orin-jetpack-5.1", "jetson-agx-orin-64", "5.1.2", "MODE_50W", "onnxruntime"),
        ("xavier-nx-jetpack-5.1", "jetson-xavier-nx", "5.1.1", "MODE_20W_6CORE", "onnxruntime"),
        ("thor-jetpack-7", "jetson-thor-t5000", "7.0.x", "120W", "onnxruntime"),
        ("rtx-workstation", "generic", None, None, "tensorrt_rtx"),
    ],
)
def test_a_device_is_recognised_from_its_own_files(
    release: Release, tmp_path: Path, name: str, profile: str, jetpack: str | None, mode: str | None, backend: str
) -> None:
    facts = check_preflight(Altered(tmp_path, MACHINES[name]), release)

    assert (facts.profile, facts.jetpack, facts.power_mode, facts.backend) == (profile, jetpack, mode, backend)
    assert facts.profile in device_names()


@pytest.mark.parametrize(
    ("name", "lacking", "command"),
    [
        ("agx-orin-jetpack-5.1", "tensorrt is not installed", "/usr/bin/python3 -m venv --system-site-packages VENV"),
        ("xavier-nx-jetpack-5.1", "tensorrt is not installed", "sudo apt-get install python3-libnvinfer"),
        ("thor-jetpack-7", "pycuda is not installed", "-m pip install 'pycuda>=2025.1.2'"),
    ],
)
def test_what_keeps_a_gpu_from_being_used_is_told_with_the_command_that_installs_it(
    release: Release, tmp_path: Path, name: str, lacking: str, command: str
) -> None:
    (note,) = check_preflight(Altered(tmp_path, MACHINES[name]), release).notes

    assert note.startswith("the CPU decides, since tensorrt does not run: ")
    assert lacking in note
    assert command in note


def test_a_missing_backend_names_the_command(release: Release, tmp_path: Path) -> None:
    with pytest.raises(DeployError, match=r"\(onnxruntime is not .*; run there: .* -m pip install onnxrun"):
        check_preflight(Altered(tmp_path, MACHINES["bare-workstation"]), release)


def test_a_backend_that_is_asked_for_must_run(release: Release, tmp_path: Path) -> None:
    thor = Altered(tmp_path, MACHINES["thor-jetpack-7"])

    with pytest.raises(DeployError, match="tensorrt does not run there: pycuda is not installed; run there: "):
        check_preflight(thor, release, "tensorrt")
    with pytest.raises(DeployError, match="got the backend 'nonsense', expected one of auto, onnxruntime"):
        check_preflight(thor, release, "nonsense")
    assert check_preflight(thor, release, "onnxruntime").backend == "onnxruntime"


def test_little_memory_is_told(release: Release, tmp_path: Path) -> None:
    machine = MACHINES["rtx-workstation"]
    files = {**machine.files, "proc/meminfo": "MemTotal: 4000000 kB\nMemAvailable: 102400 kB\n"}

    (note,) = check_preflight(Altered(tmp_path, dataclasses.replace(machine, files=files)), release).notes

    assert note == "100 MiB of memory are available there, and this may take 256: close programs, or add swap"


def test_a_python_that_is_not_there_is_told(release: Release, tmp_path: Path) -> None:
    with pytest.raises(DeployError, match=r"preflight failed: .*cannot run no-such-python"):
        deploy(release.bundle.path, LocalTarget(tmp_path / "device", "no-such-python"))


def test_a_python_that_fails_is_quoted(release: Release, tmp_path: Path) -> None:
    with pytest.raises(DeployError, match="preflight failed: exit code 1: no message"):
        deploy(release.bundle.path, LocalTarget(tmp_path / "device", "false"))
