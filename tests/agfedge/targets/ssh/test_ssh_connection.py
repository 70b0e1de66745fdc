from __future__ import annotations

import re
import shutil
import stat
from pathlib import Path

import pytest

from agfedge.cli import main
from agfedge.targets import DeployError, deploy, open_target
from agfedge.targets.ssh import connection
from agfedge.targets.ssh.target import SshTarget
from agfedge_runtime.bundle.bundle import Bundle
from deployed import current
from ssh_server import SshServer


def test_the_user_there_may_do_nothing_but_deploy(server: SshServer) -> None:
    if server.account.privileged is not None:
        pytest.skip(server.account.privileged)
    target = SshTarget.connect("device:")

    assert target.run([target.python, "-c", "import os; print(os.getuid() != 0)"], anywhere=True).stdout == "True\n"


def test_one_connection_serves_a_deploy_and_is_closed(bundle: Bundle, server: SshServer, device: Path) -> None:
    target = open_target(f"device:{device}")
    assert isinstance(target, SshTarget)
    socket = next(Path(word.split("=")[1]) for word in server.calls[0].split() if word.startswith("ControlPath="))
    deploy(bundle.path, target)
    masters = [call for call in server.calls if "ControlMaster=yes" in call]
    mode = stat.S_IMODE(socket.parent.stat().st_mode)
    was_there = socket.exists()
    target.connection.close()

    assert len(masters) == 1
    assert was_there
    assert mode == 0o700
    assert not socket.parent.exists()


def test_ssh_is_never_told_to_trust_or_to_ask(bundle: Bundle, server: SshServer, device: Path) -> None:
    deploy(bundle.path, open_target(f"device:{device}"))

    assert not [call for call in server.calls if "StrictHostKeyChecking" in call or "KnownHosts" in call]
    assert all("BatchMode=yes" in call for call in server.calls if "-O exit" not in call)


def test_a_host_behind_a_jump_host_is_a_target(bundle: Bundle, server: SshServer, device: Path) -> None:
    release = deploy(bundle.path, open_target(f"behind:{device}")).release

    assert current(device) == f"releases/{release}"


def test_a_key_that_only_the_agent_has_is_enough(bundle: Bundle, server: SshServer, device: Path) -> None:
    assert not (server.folder / "agent_key").exists()
    release = deploy(bundle.path, open_target(f"agent:{device}")).release

    assert current(device) == f"releases/{release}"


def test_the_folder_agfedge_in_the_home_is_the_default(bundle: Bundle, server: SshServer, device: Path) -> None:
    home = server.account.home / "agfedge"
    device.rename(home)
    try:
        release = deploy(bundle.path, open_target("device:")).release

        assert current(home) == f"releases/{release}"
    finally:
        shutil.rmtree(home)


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ("closed", "it is there but no SSH server answers"),
        ("silent", "it did not answer in time"),
        ("stranger", "it refuses the keys of this user: run `ssh-copy-id stranger`"),
        ("flashed", r"its host key is not the one in known_hosts: .* run `ssh-keygen -R flashed`"),
        ("unknown", "its host key is not in known_hosts yet: run `ssh unknown` once"),
        ("nowhere.invalid", "there is no host of this name"),
    ],
)
def test_each_failure_to_connect_is_one_line_of_its_own(
    bundle: Bundle,
    server: SshServer,
    host: str,
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection, "CONNECT_TIMEOUT_S", 1)

    target = f"{host}:there"
    for command in (["deploy", str(bundle.path), target], ["profile", str(bundle.path), "--on", target]):
        assert main(command) == 1
        err = capsys.readouterr().err
        assert err.count("\n") == 1
        assert re.match(f"agfedge: {target}: {message}", err)


def test_a_missing_client_is_told(
    bundle: Bundle, device: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(DeployError, match="the OpenSSH client is missing here: run `sudo apt-get install"):
        open_target(f"device:{device}")


def test_a_command_gets_its_input_variables_and_exit_code(target: SshTarget, device: Path) -> None:
    code = "import os, sys; print(os.getcwd(), sys.stdin.read(), os.environ['COLOUR']); sys.exit(7)"

    done = target.run([target.python, "-c", code], stdin=b"a 'b'", env={"COLOUR": 'deep "blue" $HOME'})

    assert (done.returncode, done.stdout.strip()) == (7, f"{device} a 'b' deep \"blue\" $HOME")


def test_a_command_that_is_not_there_is_named(target: SshTarget) -> None:
    with pytest.raises(DeployError, match="cannot run no-such-program: No such file"):
        target.run(["no-such-program"])
