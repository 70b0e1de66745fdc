"""A profile on a host: its samples come while it runs, and stay when the host is lost."""

from __future__ import annotations

import subprocess
import threading
import time
from pathlib import Path

import pytest

from agfedge.cli import main
from agfedge.targets import DeployError, deploy
from agfedge.targets.ssh.target import SshTarget
from agfedge_runtime.bundle.bundle import Bundle
from agfedge_runtime.profile.record import read_samples
from ssh_server import SshServer

pytestmark = pytest.mark.slow

PATIENCE_S = 60


def test_lines_of_a_command_come_through_ssh_while_it_runs(target: SshTarget) -> None:
    lines: list[str] = []

    done = target.stream(["sh", "-c", "echo $COLOUR; pwd; echo half >&2; exit 3"], lines.append, env={"COLOUR": "blue"})

    assert lines == ["blue", target.connection.address.folder]
    assert (done.returncode, done.stderr) == (3, "half\n")


def test_a_connection_that_is_lost_is_told_after_what_came(target: SshTarget) -> None:
    lines: list[str] = []

    def lose(line: str) -> None:
        lines.append(line)
        target.connection.close()

    with pytest.raises(DeployError):
        target.stream(["sh", "-c", "echo first; sleep 60; echo second"], lose)

    assert lines == ["first"]


def test_a_device_that_reboots_leaves_its_samples_here_and_there(
    bundle: Bundle,
    target: SshTarget,
    server: SshServer,
    device: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    deploy(bundle.path, target)
    out = tmp_path / "samples.json"
    partial = tmp_path / "samples.json.partial"

    def reboot() -> None:
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end and not (partial.exists() and partial.read_text().count("\n") > 5):
            time.sleep(0.1)
        subprocess.run(["/bin/sh", "-c", server.kill_device], check=False)

    rebooting = threading.Thread(target=reboot)
    rebooting.start()
    code = main(["profile", str(bundle.path), "--on", f"device:{device}", "--time", "100s", "--out", str(out)])
    rebooting.join()

    told = capsys.readouterr()
    samples = read_samples(out)
    assert (code, told.out, told.err.count("\n")) == (1, "", 1)
    assert f"{len(samples)} decisions are in {out}, marked incomplete" in told.err
    assert not samples.complete
    assert not partial.exists()
    there = read_samples(device / "profile-samples.json.partial")
    assert len(there) >= len(samples) > 0
    assert main(["profile", str(bundle.path), "--from-samples", str(out)]) == 0
    assert capsys.readouterr().out.startswith(f"INVALID: the run was cut short after {len(samples)} decisions")
