"""Where a bundle is deployed to: everything that happens there goes through this protocol."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from agfedge.targets.ssh.address import names_host


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

    def run(
        self, argv: Sequence[str], *, stdin: bytes = b"", env: Mapping[str, str] | None = None, anywhere: bool = False
    ) -> Completed:
        """Run a command in the folder, without a shell; ``anywhere`` takes a folder above it where it is missing.

        Raises:
            DeployError: The command cannot be started.
        """

    def stream(
        self, argv: Sequence[str], on_line: Callable[[str], None], *, env: Mapping[str, str] | None = None
    ) -> Completed:
        """Run a command in the folder as `run` does, and hand on each line of its stdout as it comes.

        Returns:
            How it ended; its stdout is empty.

        Raises:
            DeployError: The command cannot be started, or the connection is lost; what came before was handed on.
        """

    def put(self, source: Path, destination: PurePosixPath, sent: Callable[[int], None] | None = None) -> None:
        """Make ``destination`` an exact copy of the folder ``source``, on the disk when this returns.

        Files that are already equal (size and sha256) stay, so that an interrupted copy is resumed; others
        are replaced whole; what ``source`` does not have is removed. No file or folder is writable by all.
        ``sent`` is called now and then with the bytes that were sent since it was called last.

        Raises:
            InputError: ``source`` holds a symbolic link or anything else that is not a plain file or folder.
            DeployError: The copy fails.
        """


def open_target(spec: str) -> Target:
    """Return the target that a user names, ready to be used.

    Args:
        spec: ``[user@]host[:path]``, told from a folder by a colon or an @ before the first slash, where the path is
            absolute or relative to the home there (default: ``agfedge``); else a folder on this machine, which need
            not exist.

    Raises:
        DeployError: The host cannot be reached, or one cannot log in.
        InputError: It names neither.
    """
    from agfedge.targets.local import LocalTarget
    from agfedge.targets.ssh.target import SshTarget

    if names_host(spec):
        return SshTarget.connect(spec)
    return LocalTarget(Path(spec))
