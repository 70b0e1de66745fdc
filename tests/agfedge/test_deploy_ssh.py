"""Deploys through a real OpenSSH server on loopback, to a folder whose Python has numpy and ONNX Runtime alone."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import sys
import venv
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path, PurePosixPath

import pytest

from agfedge.cli.main import main
from agfedge.deploy import BusyError, DeployError, Deployment, deploy, open_target
from agfedge.deploy.ssh import connection
from agfedge.deploy.ssh.target import SshTarget
from agfedge_runtime.bundle import Bundle
from agfedge_runtime.errors import InputError
from ssh_server import MISSING, SshServer, ssh_server

pytestmark = pytest.mark.skipif(MISSING is not None, reason=str(MISSING))
WriteBundle = Callable[..., Bundle]
NO_RSYNC = "no rsync here: apt-get install rsync"
# Deploys argv[1] to argv[2], and writes its process id to argv[3] for who kills it.
DEPLOY = """
import os, pathlib, sys
from agfedge.deploy import deploy, open_target

pathlib.Path(sys.argv[3]).write_text(str(os.getpid()))
deploy(pathlib.Path(sys.argv[1]), open_target(sys.argv[2]))
"""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    with ssh_server(tmp_path_factory.mktemp("ssh")) as server:
        yield server


@pytest.fixture
def server(running: SshServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[SshServer]:
    monkeypatch.setenv("PATH", f"{running.bin}:{os.environ['PATH']}")
    yield running
    for name in ("calls", "sent", "cut", "kill"):
        (running.bin / name).unlink(missing_ok=True)


@pytest.fixture(scope="module")
def device_venv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with what a device needs: torch is none of it."""
    folder = tmp_path_factory.mktemp("device") / "venv"
    venv.create(folder, with_pip=False)
    site = next(folder.glob("lib/python*/site-packages"))
    for name in ("numpy", "onnxruntime"):
        spec = find_spec(name)
        assert spec is not None
        assert spec.origin is not None
        package = Path(spec.origin).parent
        for each in (package, package.with_name(f"{name}.libs")):
            if each.is_dir():
                (site / each.name).symlink_to(each)
    return folder


@pytest.fixture
def device(device_venv: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "a device's folder"
    folder.mkdir()
    (folder / ".venv").symlink_to(device_venv)
    return folder


@pytest.fixture
def bundle(write_tiny_bundle: WriteBundle, tmp_path: Path) -> Bundle:
    return write_tiny_bundle(tmp_path / "bundle")


@pytest.fixture(params=["rsync", "tar"])
def target(request: pytest.FixtureRequest, server: SshServer, device: Path) -> SshTarget:
    if request.param == "rsync" and shutil.which("rsync") is None:
        pytest.skip(NO_RSYNC)
    target = SshTarget.connect(f"device:{device}")
    target.has_rsync = request.param == "rsync"
    return target


def shipped(deployment: Deployment) -> object:
    return next(stage.facts["shipped"] for stage in deployment.stages if stage.name == "ship")


def current(device: Path) -> str:
    return os.readlink(device / "current")


def contents(folder: Path) -> dict[str, bytes | None]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")
    }


def python_of(device: Path, *options: str) -> None:
    """Gives the device another Python."""
    (device / ".venv").unlink()
    python = device / ".venv" / "bin" / "python3"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec {sys.executable} {" ".join(options)} "$@"\n')
    python.chmod(0o755)


def test_the_whole_deploy_goes_through_ssh(bundle: Bundle, target: SshTarget, device: Path) -> None:
    deployment = deploy(bundle.path, target)

    assert current(device) == f"releases/{deployment.release}"
    assert Bundle.open(device / "current" / "bundle").digest == bundle.digest
    assert shipped(deployment) is True
    assert {path.name for path in device.iterdir()} == {".venv", ".deploy.lock", "current", "history.json", "releases"}


def test_a_second_deploy_ships_nothing(bundle: Bundle, target: SshTarget, server: SshServer) -> None:
    deploy(bundle.path, target)
    (server.bin / "sent").unlink()

    assert shipped(deploy(bundle.path, target)) is False
    assert not (server.bin / "sent").exists()


def test_another_bundle_becomes_current(bundle: Bundle, write_tiny_bundle: WriteBundle, target: SshTarget, device: Path,
                                        tmp_path: Path) -> None:  # fmt: skip
    first = deploy(bundle.path, target).release
    second = deploy(write_tiny_bundle(tmp_path / "other", confidence=0.9).path, target).release

    assert current(device) == f"releases/{second}"
    assert {path.name for path in (device / "releases").iterdir()} == {first, second}


def test_the_commands_deploy_and_profile_take_a_host(
    bundle: Bundle, server: SshServer, device: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["deploy", str(bundle.path), f"device:{device}", "--json"]) == 0
    deployed = json.loads(capsys.readouterr().out)
    assert main(["profile", str(bundle.path), "--on", f"device:{device}", "--decisions", "40", "--json"]) == 0
    profiled = json.loads(capsys.readouterr().out)

    assert deployed["target"] == f"device:{device}"
    assert profiled["decisions"] == 40


def test_a_profile_where_nothing_is_deployed_is_told(
    bundle: Bundle, server: SshServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["profile", str(bundle.path), "--on", f"device:{tmp_path / 'nothing'}"]) == 1
    assert "deploy the bundle there first" in capsys.readouterr().err


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


def test_a_copy_is_exact(target: SshTarget, device: Path, tmp_path: Path) -> None:
    source, there = tmp_path / "source", device / "in" / "box"
    (source / "inner" / "empty").mkdir(parents=True)
    (source / "one").write_bytes(b"1" * 3000)
    (source / "inner" / "it's two").write_bytes(b"2")
    target.run(["mkdir", "-p", "in/box/inner"])
    (there / "stale").mkdir()
    (there / "stale" / "file").write_text("")
    (there / ".one.partial").write_text("left by a killed copy")
    (there / "one").write_bytes(b"x" * 3000)
    (there / "inner" / "it's two").symlink_to("/etc/passwd")

    target.put(source, PurePosixPath("in/box"))

    assert contents(there) == contents(source)
    assert all(not path.stat().st_mode & 0o022 for path in (there, *there.rglob("*")))


def test_a_link_in_the_source_is_refused(target: SshTarget, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "link").symlink_to("/etc/passwd")

    with pytest.raises(InputError, match="link is a symbolic link"):
        target.put(source, PurePosixPath("in"))


def test_a_file_that_was_cut_off_continues_where_it_stopped(server: SshServer, device: Path, tmp_path: Path) -> None:
    if shutil.which("rsync") is None:
        pytest.skip(NO_RSYNC)
    target = SshTarget.connect(f"device:{device}")
    source = tmp_path / "source"
    source.mkdir()
    (source / "file").write_bytes(os.urandom(4_000_000))
    server.cut_after(3_000_000)
    with pytest.raises(DeployError, match="cannot copy to in: "):
        target.put(source, PurePosixPath("in"))
    assert not (device / "in" / "file").exists()
    server.mend()

    target.put(source, PurePosixPath("in"))

    assert contents(device / "in") == contents(source)
    assert server.sent < 2_000_000


def test_a_tar_that_was_cut_off_continues_with_the_file_that_is_missing(
    server: SshServer, device: Path, tmp_path: Path
) -> None:
    target = SshTarget.connect(f"device:{device}")
    target.has_rsync = False
    source = tmp_path / "source"
    source.mkdir()
    for name in ("one", "two"):
        (source / name).write_bytes(os.urandom(1_000_000))
    server.cut_after(1_500_000)
    with pytest.raises(DeployError, match="cannot copy to in: "):
        target.put(source, PurePosixPath("in"))
    assert (device / "in" / "one").exists()
    assert not (device / "in" / "two").exists()
    server.mend()

    target.put(source, PurePosixPath("in"))

    assert contents(device / "in") == contents(source)
    assert server.sent < 1_200_000


def test_a_deploy_that_is_killed_in_the_transfer_leaves_current_and_the_next_one_continues(
    bundle: Bundle, write_tiny_bundle: WriteBundle, target: SshTarget, server: SshServer, device: Path, tmp_path: Path
) -> None:
    other = write_tiny_bundle(tmp_path / "other", confidence=0.9)
    first = deploy(bundle.path, target).release
    server.cut_after(60_000)
    argv = [sys.executable, "-c", DEPLOY, str(other.path), f"device:{device}", str(server.bin / "kill")]
    assert subprocess.run(argv, check=False).returncode == -9
    assert current(device) == f"releases/{first}"
    Bundle.open(device / "current" / "bundle")
    server.mend()

    second = deploy(other.path, target)

    assert current(device) == f"releases/{second.release}"
    Bundle.open(device / "current" / "bundle")


def test_a_second_deploy_at_once_is_told(bundle: Bundle, server: SshServer, device: Path) -> None:
    holding, waiting = (open_target(f"device:{device}") for _ in range(2))
    with holding.lock(), pytest.raises(BusyError, match="another deploy holds the target"):
        deploy(bundle.path, waiting)

    deploy(bundle.path, waiting)


def test_a_local_deploy_to_the_same_folder_is_told_too(bundle: Bundle, server: SshServer, device: Path) -> None:
    with open_target(f"device:{device}").lock(), pytest.raises(BusyError):
        deploy(bundle.path, open_target(str(device)))


def test_a_command_gets_its_input_variables_and_exit_code(target: SshTarget, device: Path) -> None:
    code = "import os, sys; print(os.getcwd(), sys.stdin.read(), os.environ['COLOUR']); sys.exit(7)"

    done = target.run([target.python, "-c", code], stdin=b"a 'b'", env={"COLOUR": 'deep "blue" $HOME'})

    assert (done.returncode, done.stdout.strip()) == (7, f"{device} a 'b' deep \"blue\" $HOME")


def test_a_command_that_is_not_there_is_named(target: SshTarget) -> None:
    with pytest.raises(DeployError, match="cannot run no-such-program: No such file"):
        target.run(["no-such-program"])


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

    for command in (["deploy", str(bundle.path), f"{host}:"], ["profile", str(bundle.path), "--on", f"{host}:"]):
        assert main(command) == 1
        err = capsys.readouterr().err
        assert err.count("\n") == 1
        assert re.match(f"agfedge: {host}: {message}", err)


def test_an_old_python_is_told(bundle: Bundle, server: SshServer, device: Path) -> None:
    python_of(device, "-c", "'import sys; sys.version_info = (3, 6, 9); exec(sys.argv[3])'")

    with pytest.raises(DeployError, match=r"python3 there is Python 3\.6\.9; expected 3\.8 or later"):
        deploy(bundle.path, open_target(f"device:{device}"))


def test_a_missing_python_is_told(bundle: Bundle, server: SshServer, device: Path) -> None:
    python_of(device)
    (device / ".venv" / "bin" / "python3").write_text("#!/bin/sh\necho broken >&2\nexit 3\n")

    with pytest.raises(DeployError, match=r"python3 does not run there \(broken\); install 3\.8 or later"):
        deploy(bundle.path, open_target(f"device:{device}"))


def test_a_missing_numpy_names_the_command(bundle: Bundle, server: SshServer, device: Path) -> None:
    python_of(device, "-S")  # without site-packages

    with pytest.raises(DeployError, match=r"preflight failed: numpy cannot be imported there .* -m pip install numpy"):
        deploy(bundle.path, open_target(f"device:{device}"))


def test_a_folder_that_may_not_be_made_is_told(bundle: Bundle, server: SshServer, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(DeployError, match=r"cannot be a target: .*give a folder that you may write"):
        deploy(bundle.path, open_target(f"device:{tmp_path / 'file'}"))


def test_a_full_disk_is_told(server: SshServer, device: Path, tmp_path: Path, target: SshTarget) -> None:
    source, disk = tmp_path / "source", device / "disk"
    source.mkdir()
    disk.mkdir()
    (source / "file").write_bytes(os.urandom(3_000_000))
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)],  # noqa: S607
        capture_output=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip(f"a small disk cannot be made here: {mounted.stderr.decode().strip()}")
    try:
        with pytest.raises(DeployError, match="no space is left on its disk: free some and deploy again"):
            target.put(source, PurePosixPath("disk/in"))
    finally:
        subprocess.run(["umount", str(disk)], check=True)  # noqa: S607


def test_status_and_rollback_reach_a_host(
    write_tiny_bundle: WriteBundle,
    bundle: Bundle,
    server: SshServer,
    device: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    other = write_tiny_bundle(tmp_path / "other", confidence=0.25)
    spec = f"device:{device}"
    releases = []
    for each in (bundle, other):
        deploy(each.path, open_target(spec))
        releases.append(current(device))
    assert releases[0] != releases[1]
    capsys.readouterr()
    assert main(["rollback", spec]) == 0
    assert current(device) == releases[0]
    capsys.readouterr()
    assert main(["status", spec, "--json"]) == 0
    assert bundle.digest[:12] in capsys.readouterr().out
