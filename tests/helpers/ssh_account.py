"""Who logs in on the SSH server of the tests, and the Python that they find there: numpy, ONNX Runtime, no torch.

Where root runs the tests, that is a user who owns a throwaway home and nothing else, and who stands in the passwd of
the server's own namespace alone: this machine's files stay as they are, and however the tests end, the kernel takes
the namespace away. Elsewhere it is whoever runs the tests, with another home.
"""

from __future__ import annotations

import getpass
import os
import pwd
import shlex
import shutil
import stat
import subprocess
import sys
import venv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

NAME = "agfedge-target"
# The kernel kills unshare when the tests end, however they end, and with it all that runs in its namespace.
_NAMESPACE = [
    "setpriv",
    "--pdeathsig",
    "KILL",
    "unshare",
    "--mount",
    "--pid",
    "--fork",
    "--mount-proc",
    "--kill-child=KILL",
    "--",
    "sh",
    "-c",
]
_PACKAGES = ("numpy", "onnxruntime")
# Free space of a disk that is too small for any release.
SMALL_DISK = "4m"


@dataclass(frozen=True)
class Account:
    """Who logs in.

    Attributes:
        user: the name.
        uid: the number, also that of the group.
        home: where a login begins.
        venv: a virtual environment with what a device needs.
        enter: goes before the command of the server.
        privileged: why this is root after all, or None.
        small_disk: a folder in the home with a file system of 4 MiB, or None where root alone could mount it.
    """

    user: str
    uid: int
    home: Path
    venv: Path
    enter: Sequence[str]
    privileged: str | None
    small_disk: Path | None

    def argv(self, *command: str) -> list[str]:
        """What runs a command where the server runs."""
        return [*self.enter, *command]

    def give(self, folder: Path) -> Path:
        """Makes a folder with all that is in it this user's."""
        for path in (folder, *folder.rglob("*")):
            os.chown(path, self.uid, self.uid if self.enter else -1, follow_symlinks=False)
        return folder


def make_account(folder: Path) -> Account:
    """Makes a home and a virtual environment in `folder`, which everybody may enter."""
    home, environment = folder / "home", folder / "venv"
    home.mkdir()
    _make_venv(environment)
    user, uid = getpass.getuser(), os.geteuid()
    if uid != 0:
        return Account(user, uid, home, environment, (), None, None)
    taken = {each.pw_uid for each in pwd.getpwall()}
    uid = next(number for number in range(61000, 65000) if number not in taken)
    disk = home / "small disk"
    script = "\n".join(_boot(folder, home, disk, uid))
    account = Account(NAME, uid, home, environment, (*_NAMESPACE, script, "sh"), None, disk)
    disk.mkdir()
    account.give(home)
    problem = _why_not(account)
    return Account(user, 0, home, environment, (), problem, None) if problem else account


def _make_venv(folder: Path) -> None:
    venv.create(folder, with_pip=False)
    site = next(folder.glob("lib/python*/site-packages"))
    for package in _package_folders():
        (site / package.name).symlink_to(package)


def _package_folders() -> Iterator[Path]:
    for name in _PACKAGES:
        spec = find_spec(name)
        assert spec is not None
        assert spec.origin is not None
        package = Path(spec.origin).parent
        yield from (each for each in (package, package.with_name(f"{name}.libs")) if each.is_dir())


def _boot(folder: Path, home: Path, disk: Path, uid: int) -> Iterator[str]:
    """Gives the shell's lines that make the namespace what the user is to find."""
    passwd = folder / "passwd"
    entry = f"{NAME}:*:{uid}:{uid}::{home}:/bin/sh\n"
    passwd.write_text(Path("/etc/passwd").read_text() + entry)
    yield "set -e"
    yield f"mount --bind {passwd} /etc/passwd"
    yield "mount -t tmpfs -o size=1m,mode=755 run /run && mkdir /run/sshd"  # a server that root starts insists on it
    yield f"mount -t tmpfs -o size={SMALL_DISK},mode=755,uid={uid},gid={uid} small {shlex.quote(str(disk))}"
    yield from _open_up(folder, {Path(sys.base_prefix).resolve(), *(each.resolve() for each in _package_folders())})
    yield 'exec "$@"'


def _open_up(folder: Path, paths: set[Path]) -> Iterator[str]:
    """Lets everybody reach some folders below others that only root may enter, such as /root: these seem empty else."""
    closed: dict[Path, list[tuple[Path, Path]]] = {}
    for index, path in enumerate(sorted(paths)):
        barrier = next((each for each in reversed(path.parents) if not each.stat().st_mode & stat.S_IXOTH), None)
        if barrier is not None:
            closed.setdefault(barrier, []).append((path, folder / "open" / str(index)))
    for path, aside in (pair for pairs in closed.values() for pair in pairs):
        yield f"mkdir -p {aside}"
        yield f"mount --bind {shlex.quote(str(path))} {aside}"
    for barrier, pairs in closed.items():
        yield f"mount -t tmpfs -o size=1m,mode=755 open {shlex.quote(str(barrier))}"
        for path, aside in pairs:
            yield f"mkdir -p {shlex.quote(str(path))}"
            yield f"mount --bind {aside} {shlex.quote(str(path))}"


def _why_not(account: Account) -> str | None:
    """Sees whether there can be such a namespace, and whether the user can run Python there."""
    missing = [name for name in ("setpriv", "unshare") if shutil.which(name) is None]
    if missing:
        return f"no {missing[0]} here: apt-get install util-linux"
    become = ("setpriv", "--reuid", str(account.uid), "--regid", str(account.uid), "--clear-groups")
    python = (str(account.venv / "bin" / "python3"), "-c", f"import {', '.join(_PACKAGES)}")
    done = subprocess.run(account.argv(*become, *python), capture_output=True, text=True, check=False, cwd="/")
    said = done.stderr.strip().splitlines() or ["it said nothing"]
    return f"root cannot make a user for a test alone here: {said[-1]}" if done.returncode != 0 else None
