"""A deploy that is killed at any point (SIGKILL, nothing is cleaned up) leaves a whole release running."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from agfedge.deploy import deploy
from agfedge.deploy.local import LocalTarget
from agfedge_runtime.bundle import Bundle

# Deploys argv[1] to argv[2] and kills itself once argv[4] events of kind argv[3] are done: remote steps
# (commands and copies), or files put in place.
KILLED = """
import os, pathlib, signal, sys
from agfedge.deploy import deploy
from agfedge.deploy.local import LocalTarget

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
"""
# preflight, verify before shipping, bundle, runtime, verify, golden, switch, prune.
STEPS = 8
SWITCH = 6


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


def killed_deploy(prepared: Prepared, device: Path, kind: str, count: int) -> int:
    argv = [sys.executable, "-c", KILLED, str(prepared.bundle.path), str(device), kind, str(count)]
    return subprocess.run(argv, check=False).returncode


@pytest.mark.parametrize("step", range(STEPS))
def test_a_kill_before_any_step_leaves_a_whole_release_and_the_next_deploy_succeeds(
    prepared: Prepared, device: Path, step: int
) -> None:
    assert killed_deploy(prepared, device, "step", step) == -9

    running = prepared.old if step <= SWITCH else prepared.new
    assert os.readlink(device / "current") == f"releases/{running}"
    Bundle.open(device / "current" / "bundle")
    assert deploy(prepared.bundle.path, LocalTarget(device)).release == prepared.new
    assert os.readlink(device / "current") == f"releases/{prepared.new}"
    assert {path.name for path in (device / "releases").iterdir()} == {prepared.old, prepared.new}


def test_a_deploy_has_no_further_step(prepared: Prepared, device: Path) -> None:
    assert killed_deploy(prepared, device, "step", STEPS) == 0


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
