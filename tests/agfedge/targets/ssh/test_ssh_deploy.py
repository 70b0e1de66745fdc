from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from agfedge.cli import main
from agfedge.targets import BusyError, DeployError, deploy, open_target
from agfedge.targets.ssh.target import SshTarget
from agfedge_runtime.bundle.bundle import Bundle
from deployed import current, give_python, shipped, writable_by_others
from ssh_server import SshServer, only

pytestmark = pytest.mark.slow

# What a workstation has beside ssh, which stands before it in the PATH, and what that needs.
WITHOUT_RSYNC = ("sh", "cat", "mkfifo", "rm", "wc")


def test_the_whole_deploy_goes_through_ssh(bundle: Bundle, target: SshTarget, device: Path) -> None:
    deployment = deploy(bundle.path, target)

    assert current(device) == f"releases/{deployment.release}"
    assert Bundle.open(device / "current" / "bundle").digest == bundle.digest
    assert shipped(deployment) is True
    assert {path.name for path in device.iterdir()} == {
        ".venv", ".deploy.lock", "current", "history.json", "records", "releases",
    }  # fmt: skip


def test_a_second_deploy_ships_nothing(bundle: Bundle, target: SshTarget, server: SshServer) -> None:
    deploy(bundle.path, target)
    (server.bin / "sent").unlink()

    assert shipped(deploy(bundle.path, target)) is False
    assert not (server.bin / "sent").exists()


def test_another_bundle_becomes_current(bundle: Bundle, other: Bundle, target: SshTarget, device: Path) -> None:
    first = deploy(bundle.path, target).release
    second = deploy(other.path, target).release

    assert current(device) == f"releases/{second}"
    assert {path.name for path in (device / "releases").iterdir() if path.is_dir()} == {first, second}


def test_nobody_else_may_write_anything_there_whatever_the_umask(
    bundle: Bundle, other: Bundle, target: SshTarget, device: Path
) -> None:
    assert target.run(["sh", "-c", "umask"]).stdout.strip() == "0022"
    for each in (bundle, other):
        deploy(each.path, target)

    assert not list(writable_by_others(device))


def test_the_commands_deploy_and_profile_take_a_host(
    bundle: Bundle, server: SshServer, device: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["deploy", str(bundle.path), f"device:{device}", "--json"]) == 0
    assert f'"device:{device}"' in capsys.readouterr().out
    assert main(["profile", str(bundle.path), "--on", f"device:{device}", "--decisions", "40", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["decisions"] == 40


def test_a_profile_where_nothing_is_deployed_is_told(
    bundle: Bundle, server: SshServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["profile", str(bundle.path), "--on", "device:nothing"]) == 1
    assert "deploy the bundle there first" in capsys.readouterr().err


def test_status_and_rollback_reach_a_host(
    bundle: Bundle, other: Bundle, server: SshServer, device: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = f"device:{device}"
    releases = []
    for each in (bundle, other):
        deploy(each.path, open_target(spec))
        releases.append(current(device))
    assert releases[0] != releases[1]
    assert main(["rollback", spec]) == 0
    assert current(device) == releases[0]
    capsys.readouterr()
    assert main(["status", spec, "--json"]) == 0
    assert bundle.digest[:12] in capsys.readouterr().out


def test_a_target_without_rsync_takes_a_tar(bundle: Bundle, server: SshServer, device: Path) -> None:
    target = open_target(f"bare:{device}")
    assert isinstance(target, SshTarget)

    assert not target.has_rsync
    assert shipped(deploy(bundle.path, target)) is True
    assert main(["profile", str(bundle.path), "--on", f"bare:{device}", "--decisions", "40", "--json"]) == 0


def test_a_workstation_without_rsync_sends_a_tar(
    bundle: Bundle, server: SshServer, device: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{server.bin}:{only(tmp_path / 'few', WITHOUT_RSYNC)}")
    target = open_target(f"device:{device}")
    assert isinstance(target, SshTarget)

    assert not target.has_rsync
    assert shipped(deploy(bundle.path, target)) is True


def test_a_second_deploy_at_once_is_told(bundle: Bundle, server: SshServer, device: Path) -> None:
    holding, waiting = (open_target(f"device:{device}") for _ in range(2))
    with holding.lock(), pytest.raises(BusyError, match="another deploy holds the target"):
        deploy(bundle.path, waiting)

    deploy(bundle.path, waiting)


def test_a_local_deploy_to_the_same_folder_is_told_too(bundle: Bundle, server: SshServer, device: Path) -> None:
    with open_target(f"device:{device}").lock(), pytest.raises(BusyError):
        deploy(bundle.path, open_target(str(device)))


def test_an_old_python_is_told(bundle: Bundle, server: SshServer, device: Path) -> None:
    give_python(device, "-c", "'import sys; sys.version_info = (3, 6, 9); exec(sys.argv[3])'")

    with pytest.raises(DeployError, match=r"python3 there is Python 3\.6\.9; expected 3\.8 or later"):
        deploy(bundle.path, open_target(f"device:{device}"))


def test_a_missing_python_is_told(bundle: Bundle, server: SshServer, device: Path) -> None:
    give_python(device)
    (device / ".venv" / "bin" / "python3").write_text("#!/bin/sh\necho broken >&2\nexit 3\n")

    with pytest.raises(DeployError, match=r"python3 does not run there \(broken\); install 3\.8 or later"):
        deploy(bundle.path, open_target(f"device:{device}"))


def test_a_missing_numpy_names_the_command(bundle: Bundle, server: SshServer, device: Path) -> None:
    give_python(device, "-S")  # without site-packages

    with pytest.raises(DeployError, match=r"preflight failed: numpy cannot be imported there .* -m pip install numpy"):
        deploy(bundle.path, open_target(f"device:{device}"))


def test_a_folder_that_may_not_be_made_is_told(bundle: Bundle, server: SshServer, device: Path) -> None:
    (device / "file").write_text("")

    with pytest.raises(DeployError, match=r"cannot be a target: .*give a folder that you may write"):
        deploy(bundle.path, open_target(f"device:{device / 'file'}"))


def test_a_folder_of_somebody_else_is_told(bundle: Bundle, server: SshServer) -> None:
    if server.account.uid == 0:
        pytest.skip(str(server.account.privileged))
    folder = "/agfedge-of-somebody-else"
    assert not os.path.exists(folder)

    with pytest.raises(DeployError, match=r"cannot be a target: .*Permission denied; give a folder that you may write"):
        deploy(bundle.path, open_target(f"device:{folder}"))
