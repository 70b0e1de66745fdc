"""Targets behind a real OpenSSH server on loopback, whose Python has numpy and ONNX Runtime alone."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agfedge.targets.ssh.target import SshTarget
from ssh_server import MISSING, SshServer, ssh_server

NO_RSYNC = "no rsync here: apt-get install rsync"


@pytest.fixture(scope="session")
def running() -> Iterator[SshServer]:
    if MISSING is not None:
        pytest.skip(MISSING)
    with ssh_server() as server:
        yield server


@pytest.fixture
def server(running: SshServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[SshServer]:
    monkeypatch.setenv("PATH", f"{running.bin}:{os.environ['PATH']}")
    yield running
    running.mend()


@pytest.fixture
def make_device(running: SshServer) -> Callable[[], Path]:
    """Makes a folder in the target's home, with a virtual environment and without a release."""

    def make() -> Path:
        folder = running.folder_for("a device's folder ")
        (folder / ".venv").symlink_to(running.account.venv)
        return folder

    return make


@pytest.fixture
def device(make_device: Callable[[], Path]) -> Path:
    return make_device()


@pytest.fixture
def small_disk(server: SshServer) -> Path:
    """An empty folder there with a file system of its own, which the target alone sees; Python is that of the home."""
    disk = server.account.small_disk
    if disk is None:
        pytest.skip(server.account.privileged or "only root can mount a small disk")
    script = f"cd '{disk}' && find . -mindepth 1 -delete && ln -s '{server.account.venv}' .venv"
    subprocess.run([str(server.bin / "ssh"), "device", script], check=True)
    return disk


@pytest.fixture
def rsync() -> None:
    if shutil.which("rsync") is None:
        pytest.skip(NO_RSYNC)


@pytest.fixture(params=["rsync", "tar"])
def target(request: pytest.FixtureRequest, server: SshServer, device: Path) -> SshTarget:
    if request.param == "rsync":
        request.getfixturevalue("rsync")
    target = SshTarget.connect(f"device:{device}")
    target.has_rsync = request.param == "rsync"
    return target
