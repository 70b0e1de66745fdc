"""Send a folder over ssh: only the files that differ, each put in place whole; a killed transfer is resumed.

By rsync, which continues within a file, where both ends have it; else as a tar stream, which continues with the next.
"""

from __future__ import annotations

import shlex
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from agfedge.deploy.errors import DeployError
from agfedge.deploy.mirror import contents, sha256
from agfedge.deploy.on_target.transfer import PARTIAL
from agfedge.deploy.remote import call_function, strings
from agfedge.deploy.ssh.errors import NO_SPACE, SSH_FAILED, explain

if TYPE_CHECKING:
    from agfedge.deploy.ssh.target import SshTarget

SILENCE_S = 60


def send(target: SshTarget, source: Path, destination: PurePosixPath) -> None:
    """Make ``destination`` an exact copy of ``source``; see ``Target.put``."""
    folders, files = contents(source)
    expected = {str(name): [(source / name).stat().st_size, sha256(source / name)] for name in sorted(files)}
    what = {"destination": str(destination), "folders": sorted(map(str, folders)), "files": expected}
    try:
        wanted = strings(call_function(target, "transfer.prepare", **what)["wanted"])
        if wanted:
            (_send_by_rsync if target.has_rsync else _send_by_tar)(target, source, destination, wanted)
        call_function(target, "transfer.finish", **what)
    except DeployError as error:
        reason = NO_SPACE if "No space left" in str(error) else str(error)
        raise DeployError(f"cannot copy to {destination}: {reason}") from error


def _send_by_rsync(target: SshTarget, source: Path, destination: PurePosixPath, names: Sequence[str]) -> None:
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
        f"--rsh={shlex.join(target.connection.ssh('ControlMaster=no'))}",
        f"--rsync-path={target.rsync_server()}",
        f"{source}/",
        f"{host}:{destination}/",
    ]
    done = subprocess.run(argv, input="\0".join(names).encode(), capture_output=True, check=False)
    stderr = done.stderr.decode(errors="replace")
    if done.returncode == SSH_FAILED:
        raise DeployError(explain(address, stderr))
    if done.returncode != 0:
        # The first line is the cause, those that follow what came of it.
        raise DeployError(
            NO_SPACE if "No space left" in stderr else (stderr.strip().splitlines() or ["rsync failed"])[0]
        )


def _send_by_tar(target: SshTarget, source: Path, destination: PurePosixPath, names: Sequence[str]) -> None:
    with (
        target.feed("transfer.receive", destination=str(destination), names=list(names)) as process,
        tarfile.open(fileobj=process.stdin, mode="w|") as archive,
    ):
        for name in names:
            archive.add(source / name, arcname=name, recursive=False)
