"""Where a bundle is deployed to: everything that happens there goes through this protocol."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from agfedge_runtime.errors import InputError

# As scp has it: a colon or an @ before the first slash names a host.
_HOST = re.compile(r"[^/]*[:@]")


@dataclass(frozen=True)
class Completed:
    """A command that ran on a target."""

    returncode: int
    stdout: str
    stderr: str


class Target(Protocol):
    """A machine and a folder on it. Relative paths are relative to that folder."""

    @property
    def name(self) -> str:
        """What the user called it."""

    @property
    def python(self) -> str:
        """The Python interpreter there, as the first word of a command."""

    def lock(self) -> AbstractContextManager[None]:
        """Hold the target for one deploy; the folder is made where it is missing.

        The lock is the kernel's (flock), so that a killed deploy never leaves it behind.

        Raises:
            BusyError: Another deploy holds it.
            DeployError: The folder cannot be made or locked.
        """

    def run(self, argv: Sequence[str], *, stdin: bytes = b"", env: Mapping[str, str] | None = None) -> Completed:
        """Run a command in the folder, without a shell.

        Raises:
            DeployError: The command cannot be started.
        """

    def put(self, source: Path, destination: PurePosixPath) -> None:
        """Make ``destination`` an exact copy of the folder ``source``, on the disk when this returns.

        Files that are already equal (size and sha256) stay, so that an interrupted copy is resumed; others
        are replaced whole; what ``source`` does not have is removed. No file or folder is writable by all.

        Raises:
            InputError: ``source`` holds a symbolic link or anything else that is not a plain file or folder.
            DeployError: The copy fails.
        """


def open_target(spec: str) -> Target:
    """Return the target that a user names.

    Args:
        spec: A folder on this machine; it need not exist.

    Raises:
        InputError: It names a host.
    """
    from agfedge.deploy.local import LocalTarget

    if _HOST.match(spec):
        raise InputError(
            f"{spec} names a host; this release deploys to local folders only: give one "
            f"(./{spec}, if that is the folder's name)"
        )
    return LocalTarget(Path(spec))
