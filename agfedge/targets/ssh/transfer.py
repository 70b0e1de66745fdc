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
from functools import cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from agfedge.targets.errors import NO_SPACE, DeployError
from agfedge.targets.mirror import contents, sha256
from agfedge.targets.on_target.transfer import PARTIAL
from agfedge.targets.remote import call_function, strings
from agfedge.targets.ssh.errors import SSH_FAILED, explain

if TYPE_CHECKING:
    from agfedge.targets.ssh.target import SshTarget

SILENCE_S = 60
# As in "  1,234,567  45%", with the separators of wherever this runs.
_TOTAL = re.compile(rb"(?:^|[\r\n])\s*(\d[\d,.']*)\s+\d+%")


def send(
    target: SshTarget, source: Path, destination: PurePosixPath, sent: Callable[[int], None] | None = None
) -> None:
    """Make ``destination`` an exact copy of ``source``; see ``Target.put``."""
    folders, files = contents(source)
    expected = {str(name): [(source / name).stat().st_size, sha256(source / name)] for name in sorted(files)}
    what = {"destination": str(destination), "folders": sorted(map(str, folders)), "files": expected}
    tell = sent or (lambda _: None)
    try:
        wanted = strings(call_function(target, "transfer.prepare", **what)["wanted"])
        if wanted:
            (_send_by_rsync if target.has_rsync else _send_by_tar)(target, source, destination, wanted, tell)
        call_function(target, "transfer.finish", **what)
    except DeployError as error:
        reason = NO_SPACE if "No space left" in str(error) else str(error)
        raise DeployError(f"cannot copy to {destination}: {reason}") from error


def _send_by_rsync(
    target: SshTarget, source: Path, destination: PurePosixPath, names: Sequence[str], sent: Callable[[int], None]
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


def _is_full(target: SshTarget, source: Path, names: Sequence[str]) -> bool:
    """Whether the disk there has no room for these files: rsync may end before its other end has said why it did."""
    free = call_function(target, "facts.preflight", release="", modules=[])["free"]
    return isinstance(free, int) and free < sum((source / name).stat().st_size for name in names)


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
    target: SshTarget, source: Path, destination: PurePosixPath, names: Sequence[str], sent: Callable[[int], None]
) -> None:
    with (
        target.feed("transfer.receive", destination=str(destination), names=list(names)) as process,
        tarfile.open(fileobj=process.stdin, mode="w|") as archive,
    ):
        for name in names:
            archive.add(source / name, arcname=name, recursive=False)
            sent((source / name).stat().st_size)
