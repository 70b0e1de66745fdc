"""A deploy that is killed at any point (SIGKILL, nothing is cleaned up) leaves a whole release running."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from agfedge.targets import deploy
from agfedge.targets.local import LocalTarget
from agfedge.targets.remote import call
from agfedge.targets.shipped import check_golden
from agfedge_runtime.bundle.bundle import Bundle
from agfedge_runtime.releases import releases

pytestmark = pytest.mark.slow

# Deploys argv[1] to argv[2] and kills itself once argv[4] events of kind argv[3] are done: remote steps (commands and
# copies), or files put in place. With fewer, it ends well and prints how many were left.
KILLED = """
import os, pathlib, signal, sys
from agfedge.targets import deploy
from agfedge.targets.local import LocalTarget

bundle, device = map(pathlib.Path, sys.argv[1:3])
kind, count = sys.argv[3], int(sys.argv[4])

def counted(function):
    def call(*args, **options):
        global count
        if count == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        count -= 1
        return function(*args, **options)
    return call

class Killed(LocalTarget):
    run = counted(LocalTarget.run)
    put = counted(LocalTarget.put)

if kind == "file":
    os.replace = counted(os.replace)
deploy(bundle, (Killed if kind == "step" else LocalTarget)(device))
print(count)
"""
# More than any deploy has.
MANY = 1000
# Calls a function of a target's own, in the folder argv[1], and kills itself before the argv[2]th change of a file or a
# folder that it makes. With fewer, it ends well.
KILLED_THERE = """
import json, os, signal, sys
from agfedge_runtime.releases import releases

CHANGES = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.symlink", "os.link", "os.chmod", "os.truncate")
os.chdir(sys.argv[1])
count = int(sys.argv[2])

def watch(event, details):
    global count
    writes = event == "open" and details[2] & (os.O_WRONLY | os.O_RDWR)
    if writes or event in CHANGES:
        if count == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        count -= 1

sys.addaudithook(watch)
getattr(releases, sys.argv[3])(**json.loads(sys.argv[4]))
"""


@dataclass(frozen=True)
class Prepared:
    """A device that runs one release, and another bundle to deploy."""

    device: Path
    old: str
    new: str
    bundle: Bundle


@pytest.fixture(scope="module")
def prepared(write_tiny_bundle: Callable[..., Bundle], tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    folder = tmp_path_factory.mktemp("prepared")
    bundle = write_tiny_bundle(folder / "new", confidence=0.9)
    new = deploy(bundle.path, LocalTarget(folder / "elsewhere")).release
    old = deploy(write_tiny_bundle(folder / "old").path, LocalTarget(folder / "device")).release
    return Prepared(folder / "device", old, new, bundle)


@pytest.fixture
def device(prepared: Prepared, tmp_path: Path) -> Path:
    return Path(shutil.copytree(prepared.device, tmp_path / "device", symlinks=True))


def run(program: str, *words: object) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-c", program, *map(str, words)]
    return subprocess.run(argv, check=False, stdout=subprocess.PIPE, text=True)


def killed_deploy(prepared: Prepared, device: Path, kind: str, count: int) -> int:
    return run(KILLED, prepared.bundle.path, device, kind, count).returncode


def copy_of(device: Path, tmp_path: Path, name: object) -> Path:
    return Path(shutil.copytree(device, tmp_path / str(name), symlinks=True))


def current(device: Path) -> str:
    return os.readlink(device / "current").removeprefix("releases/")


def test_a_kill_before_any_step_leaves_a_whole_release_and_the_next_deploy_succeeds(
    prepared: Prepared, device: Path, tmp_path: Path
) -> None:
    undisturbed = run(KILLED, prepared.bundle.path, copy_of(device, tmp_path, "undisturbed"), "step", MANY)
    steps = MANY - int(undisturbed.stdout)
    running = []
    for step in range(steps):
        copy = copy_of(device, tmp_path, step)
        assert killed_deploy(prepared, copy, "step", step) == -9

        running.append(current(copy))
        Bundle.open(copy / "current" / "bundle")
        assert check_golden(LocalTarget(copy), running[-1])["passed"] is True
        assert deploy(prepared.bundle.path, LocalTarget(copy)).release == prepared.new == current(copy)
        assert {path.name for path in (copy / "releases").iterdir()} == {prepared.old, prepared.new}

    # The switch is one step: before it the old release runs, after it the new one.
    before = running.index(prepared.new)
    assert running == [prepared.old] * before + [prepared.new] * (steps - before)


@pytest.mark.parametrize(("function", "arguments"), [("switch", {"release": "{old}"}), ("prune", {"keep": 1})])
def test_a_kill_before_any_change_that_the_target_makes_leaves_a_whole_release(
    prepared: Prepared, device: Path, tmp_path: Path, function: str, arguments: dict[str, object]
) -> None:
    deploy(prepared.bundle.path, LocalTarget(device))
    request = json.dumps(arguments).replace("{old}", prepared.old)
    # The files of a release that leaves go one like the other.
    for count in (*range(6), *range(6, MANY, 15)):
        copy = copy_of(device, tmp_path, count)
        code = run(KILLED_THERE, copy, count, function, request).returncode

        audit = call(LocalTarget(copy), releases.audit, current(copy))
        assert audit.problems == ()
        assert run(KILLED_THERE, copy, MANY, function, request).returncode == 0
        assert current(copy) == (prepared.old if function == "switch" else prepared.new)
        if code == 0:
            break
        assert code == -9
    assert count > 2


@pytest.mark.parametrize("files", [0, 1, 5])
def test_a_kill_in_the_middle_of_the_transfer_is_resumed(prepared: Prepared, device: Path, files: int) -> None:
    assert killed_deploy(prepared, device, "file", files) == -9
    assert os.readlink(device / "current") == f"releases/{prepared.old}"
    release = device / "releases" / prepared.new
    arrived = {path: path.stat().st_ino for path in release.rglob("[!.]*") if path.is_file()}

    deploy(prepared.bundle.path, LocalTarget(device))

    assert len(arrived) == files
    assert {path: path.stat().st_ino for path in arrived} == arrived
    Bundle.open(device / "current" / "bundle")
