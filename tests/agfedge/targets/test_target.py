from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path, PurePosixPath

import pytest

from agfedge.targets import BusyError, DeployError, open_target
from agfedge.targets.local import LocalTarget
from agfedge.targets.ssh.address import Address, names_host, parse_address
from agfedge_runtime.errors import InputError
from agfedge_runtime.releases.lock import LOCK


def test_a_command_runs_in_the_folder(tmp_path: Path) -> None:
    done = LocalTarget(tmp_path).run([sys.executable, "-c", "import os; print(os.getcwd())"])

    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, str(tmp_path), "")


def test_a_command_gets_its_input_and_variables(tmp_path: Path) -> None:
    code = "import os, sys; print(sys.stdin.read() + os.environ['COLOUR'])"

    done = LocalTarget(tmp_path).run([sys.executable, "-c", code], stdin=b"deep ", env={"COLOUR": "blue"})

    assert done.stdout.strip() == "deep blue"


def test_what_configures_this_python_does_not_reach_the_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/somewhere")

    done = LocalTarget(tmp_path).run([sys.executable, "-c", "import os; print('PYTHONPATH' in os.environ)"])

    assert done.stdout.strip() == "False"


def test_a_command_that_fails_tells_its_code(tmp_path: Path) -> None:
    assert LocalTarget(tmp_path).run([sys.executable, "-c", "raise SystemExit(7)"]).returncode == 7


def test_a_command_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DeployError, match="cannot run no-such-python: No such file"):
        LocalTarget(tmp_path).run(["no-such-python"])


def test_lines_of_a_command_are_handed_on_while_it_runs(tmp_path: Path) -> None:
    # It goes on only when its first line was taken.
    code = "import os, sys, time\nprint('first', flush=True)\nwhile not os.path.exists('go'): time.sleep(0.01)\n"
    code += "print(os.environ['COLOUR']); sys.stdout.write('half'); sys.exit('told')"
    lines: list[str] = []

    def take(line: str) -> None:
        lines.append(line)
        (tmp_path / "go").touch()

    done = LocalTarget(tmp_path).stream([sys.executable, "-c", code], take, env={"COLOUR": "blue"})

    assert lines == ["first", "blue"], "a line that was cut short is none"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "told\n")


def test_a_command_that_is_interrupted_gives_its_last_lines_and_ends(tmp_path: Path) -> None:
    code = "import signal, sys, time\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(print('last')))\n"
    code += "print('first', flush=True)\ntime.sleep(60)"
    lines: list[str] = []

    def take(line: str) -> None:
        lines.append(line)
        if line == "first":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        LocalTarget(tmp_path).stream([sys.executable, "-c", code], take)

    assert lines == ["first", "last"]


def test_a_command_whose_lines_cannot_be_taken_is_ended(tmp_path: Path) -> None:
    def take(line: str) -> None:
        raise InputError("no")

    with pytest.raises(InputError, match="no"):
        LocalTarget(tmp_path).stream([sys.executable, "-c", "print(1, flush=True); import time; time.sleep(60)"], take)


def test_a_command_to_stream_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DeployError, match="cannot run no-such-python: No such file"):
        LocalTarget(tmp_path).stream(["no-such-python"], print)


def test_a_folder_is_copied_below_the_target(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "file").write_bytes(b"content")
    LocalTarget(tmp_path / "device").put(source, PurePosixPath("a/b"))

    assert (tmp_path / "device" / "a" / "b" / "file").read_bytes() == b"content"


def test_a_copy_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (tmp_path / "device").write_text("a file")

    with pytest.raises(DeployError, match="cannot copy"):
        LocalTarget(tmp_path / "device").put(source, PurePosixPath("a"))


def test_the_lock_makes_the_folder_and_holds_off_a_second_one(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "device"
    first, second = LocalTarget(folder), LocalTarget(folder)
    told = pytest.raises(BusyError, match="another deploy holds the target")
    with first.lock(), told, second.lock():
        pass

    with second.lock():
        pass


def test_a_command_that_outlives_a_killed_deploy_keeps_the_lock(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    outlive = f"import os; os.kill(os.getppid(), 9); open({str(gate)!r}).read()"
    deploy = f"""
import pathlib
from agfedge.targets.local import LocalTarget
target = LocalTarget(pathlib.Path({str(tmp_path)!r}))
with target.lock():
    target.run([target.python, "-c", {outlive!r}])
"""
    killed = subprocess.run([sys.executable, "-c", deploy], check=False)
    with pytest.raises(BusyError), LocalTarget(tmp_path).lock():
        pass

    gate.write_text("")  # now the command ends
    with open(tmp_path / LOCK) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
    assert killed.returncode == -9


def test_a_file_cannot_be_a_target(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("")

    with pytest.raises(DeployError, match="cannot be a target"), LocalTarget(path).lock():
        pass


@pytest.mark.parametrize(
    ("spec", "address"),
    [
        ("user@jetson", Address("user", "jetson", "agfedge")),
        ("user@jetson:/opt/agfedge", Address("user", "jetson", "/opt/agfedge")),
        ("jetson:", Address(None, "jetson", "agfedge")),
        ("jetson:~/a b", Address(None, "jetson", "a b")),
        ("me@[fe80::1%eth0]:x", Address("me", "fe80::1%eth0", "x")),
    ],
)
def test_a_host_is_named_as_scp_has_it(spec: str, address: Address) -> None:
    assert names_host(spec)
    assert parse_address(spec) == address


@pytest.mark.parametrize(
    "spec", ["-oProxyCommand=x@h", "a@-oProxyCommand=x:", "h;x:y", "ssh://h:22/x", "h:~other/x", ":x"]
)
def test_what_names_no_host_is_refused(spec: str) -> None:
    with pytest.raises(InputError, match=r"names no host|another user"):
        open_target(spec)


@pytest.mark.parametrize("spec", ["device", "./user@jetson", "/tmp/a:b"])  # noqa: S108
def test_anything_else_is_a_folder_on_this_machine(spec: str) -> None:
    assert open_target(spec).name == spec.removeprefix("./")
