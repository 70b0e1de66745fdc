"""Send a folder over ssh: only the files that differ, each put in place whole; a killed transfer is resumed.

By rsync, which continues within a file, where both ends have it; else as a tar stream, which continues with the next.
"""

from __future__ import annotations

import contextlib
import re
import shlex
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Protocol

from agfedge.targets.remote import call, program_of
from agfedge.targets.ssh.connection import SSH_FAILED, Connection, explain
from agfedge.targets.target import NO_SPACE, DeployError, Target
from agfedge_runtime.releases import transfer
from agfedge_runtime.releases.releases import free_bytes
from agfedge_runtime.releases.transfer import PARTIAL

SILENCE_S = 60
# As in "  1,234,567  45%", with the separators of wherever this runs.
_TOTAL = re.compile(rb"(?:^|[\r\n])\s*(\d[\d,.']*)\s+\d+%")


class Receiver(Target, Protocol):
    """A target that files are sent to over ssh."""

    @property
    def has_rsync(self) -> bool:
        """Whether files go by rsync, which both ends need; else by tar."""

    @property
    def connection(self) -> Connection:
        """What every command goes through."""

    def rsync_server(self) -> str:
        """Return the command that rsync starts there."""

    def feed(self, program: bytes) -> AbstractContextManager[subprocess.Popen[bytes]]:
        """Start a program there, give its stdin, and wait for its end; raises DeployError where it fails."""


def send(target: Receiver, source: Path, destination: PurePosixPath, sent: Callable[[int], None] | None = None) -> None:
    """Make ``destination`` an exact copy of ``source``; see ``Target.put``."""
    folders, files = transfer.contents(source)
    tell = sent or (lambda _: None)
    try:
        wanted = call(target, transfer.prepare, str(destination), folders, files)
        if wanted:
            (_send_by_rsync if target.has_rsync else _send_by_tar)(target, source, destination, wanted, tell)
        call(target, transfer.finish, str(destination), folders, files)
    except DeployError as error:
        reason = NO_SPACE if "No space left" in str(error) else str(error)
        raise DeployError(f"cannot copy to {destination}: {reason}") from error


def _send_by_rsync(
    target: Receiver, source: Path, destination: PurePosixPath, names: Sequence[str], sent: Callable[[int], None]
) -> None:
    address = target.connection.address
    host = address.login if ":" not in address.host else address.login.replace(address.host, f"[{address.host}]")
    argv = [
        "rsync",
        "--files-from=-",
        "--from0",
        "--ignore-times",  # what is sent is known to differ, whatever its size and time
        "--perms",
        "--chmod=D755,F644",
        f"--partial-dir={PARTIAL}",
        f"--timeout={SILENCE_S}",
        *(["--info=progress2", "--outbuf=Line"] if _tells_progress() else []),
        f"--rsh={shlex.join(target.connection.ssh('ControlMaster=no'))}",
        f"--rsync-path={target.rsync_server()}",
        f"{source}/",
        f"{host}:{destination}/",
    ]
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, bufsize=0) as process,
    ):
        with contextlib.suppress(BrokenPipeError):  # it says on stderr why it left
            _give("\0".join(names).encode(), process)
        _follow(process, sent)
        returncode = process.wait()
        errors.seek(0)
        stderr = errors.read().decode(errors="replace")
    if returncode == SSH_FAILED:
        raise DeployError(explain(address, stderr))
    if returncode != 0:
        # The first line is the cause, those that follow what came of it.
        first = next(iter(stderr.strip().splitlines()), "")
        is_full = "No space left" in stderr or (not first and _is_full(target, source, names))
        raise DeployError(NO_SPACE if is_full else first or f"rsync ended with exit code {returncode}")


def _is_full(target: Receiver, source: Path, names: Sequence[str]) -> bool:
    """Whether the disk there has no room for these files: rsync may end before its other end has said why it did."""
    return call(target, free_bytes) < sum((source / name).stat().st_size for name in names)


def _give(names: bytes, process: subprocess.Popen[bytes]) -> None:
    if process.stdin is not None:
        with process.stdin as pipe:
            pipe.write(names)


def _follow(process: subprocess.Popen[bytes], sent: Callable[[int], None]) -> None:
    """Read the totals that rsync prints again and again, each on top of the last."""
    told = 0
    while process.stdout is not None and (some := process.stdout.read(1 << 12)):
        totals = _TOTAL.findall(some)
        now = int(re.sub(rb"\D", b"", totals[-1])) if totals else told
        if now > told:
            sent(now - told)
            told = now


@cache
def _tells_progress() -> bool:
    """Whether rsync here knows the option, as 3.1 and later do; others that go by its name do not."""
    done = subprocess.run(["rsync", "--version"], capture_output=True, check=False)  # noqa: S607 -- the user's own
    return re.match(rb"rsync\s+version 3\.[1-9]", done.stdout) is not None


def _send_by_tar(
    target: Receiver, source: Path, destination: PurePosixPath, names: Sequence[str], sent: Callable[[int], None]
) -> None:
    with (
        target.feed(program_of(transfer.receive, str(destination), tuple(names))) as process,
        tarfile.open(fileobj=process.stdin, mode="w|") as archive,
    ):
        for name in names:
            archive.add(source / name, arcname=name, recursive=False)
            sent((source / name).stat().st_size)
