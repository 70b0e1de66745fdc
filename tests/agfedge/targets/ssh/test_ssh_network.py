"""The network between both sides falls silent: the deploy ends, the lock is let go, the next deploy continues."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agfedge.targets import BusyError, DeployError, deploy, open_target
from agfedge.targets.local import LocalTarget
from agfedge.targets.ssh import connection, lock, transfer
from agfedge.targets.ssh.target import SshTarget
from agfedge_runtime.bundle.bundle import Bundle
from deployed import current
from ssh_server import SshServer

pytestmark = pytest.mark.slow

PATIENCE_S = 10
QUICK = ("ServerAliveInterval=1", "ServerAliveCountMax=1")


@pytest.fixture
def silence(server: SshServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A line of the shell that silences the network; what takes a minute takes seconds then."""
    others = [option for option in connection._OPTIONS if not option.startswith("ServerAlive")]
    monkeypatch.setattr(connection, "_OPTIONS", (*others, *QUICK))
    monkeypatch.setattr(connection, "CONNECT_TIMEOUT_S", 1)
    monkeypatch.setattr(lock.Holder, "SILENCE_S", 2)
    monkeypatch.setattr(lock, "HEARTBEAT_S", 0.5)
    monkeypatch.setattr(transfer, "SILENCE_S", 2)
    yield f"kill -STOP {server.network}"
    os.kill(server.network, signal.SIGCONT)


@pytest.fixture
def far(server: SshServer, device: Path, bundle: Bundle, silence: str) -> SshTarget:
    """A target that runs a release; behind the network that will fall silent."""
    deploy(bundle.path, open_target(f"device:{device}"))
    server.mend()
    return SshTarget.connect(f"far:{device}")


def is_free(device: Path) -> bool:
    """Whether the lock can be taken, there and not through the network."""
    try:
        with LocalTarget(device).lock():
            return True
    except BusyError:
        return False


def wait_for_the_lock(device: Path) -> None:
    end = time.monotonic() + PATIENCE_S
    while not is_free(device):
        assert time.monotonic() < end, "the lock is still held"
        time.sleep(0.1)


def deploy_fails_and_the_next_one_continues(server: SshServer, far: SshTarget, device: Path, bundle: Bundle) -> str:
    before = current(device)
    with pytest.raises(DeployError) as told:
        deploy(bundle.path, far)
    assert current(device) == before
    wait_for_the_lock(device)
    os.kill(server.network, signal.SIGCONT)
    server.mend()

    assert current(device) == before
    again = deploy(bundle.path, open_target(far.name)).release

    assert current(device) == f"releases/{again}"
    return str(told.value)


@pytest.mark.parametrize("step", [2, 4])
def test_silence_before_a_command_is_told_in_one_line(
    server: SshServer, silence: str, far: SshTarget, device: Path, other: Bundle, step: int
) -> None:
    server.at(f"before-{step}", silence)

    told = deploy_fails_and_the_next_one_continues(server, far, device, other)

    assert "it did not answer in time: check that it is on and in this network" in told
    assert "\n" not in told


@pytest.mark.parametrize("tar", [False, True], ids=["rsync", "tar"])
def test_silence_in_the_transfer_ends_the_transfer_on_both_sides(
    server: SshServer, silence: str, far: SshTarget, device: Path, other: Bundle, tar: bool
) -> None:
    if not (tar or far.has_rsync):
        pytest.skip("no rsync here: apt-get install rsync")
    far.has_rsync = not tar
    server.cut_after(150_000, silence)  # more than fits in any pipe, so that it has begun there

    told = deploy_fails_and_the_next_one_continues(server, far, device, other)

    assert "\n" not in told
