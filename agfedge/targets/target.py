"""Where a bundle is deployed to, and what can go wrong there: everything goes through one protocol.

AgfedgeError
└── DeployError       a stage failed; the message names the target and the stage
    └── BusyError     another deploy holds the target
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from agfedge_runtime.errors import AgfedgeError

NO_SPACE = "no space is left on its disk: free some and deploy again, which continues from what is there"


class DeployError(AgfedgeError):
    """A stage of a deploy failed, or the target cannot be reached."""


class BusyError(DeployError):
    """Another deploy holds the target."""


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


def run_streaming(
    argv: Sequence[str],
    on_line: Callable[[str], None],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    pass_fds: Sequence[int] = (),
) -> tuple[int, str]:
    """Run a command without a shell, and hand on each whole line that it prints.

    Where this is interrupted, the command is asked to end, and its last lines are handed on before.

    Args:
        argv: The command.
        on_line: Called with each line, without its end; a last line that was cut short is left out.
        cwd: Where it runs.
        env: All of its environment; by default this process's.
        pass_fds: File descriptors that it inherits.

    Returns:
        Its exit code, and what it wrote to stderr.

    Raises:
        OSError: It cannot be started.
    """
    # To a file: nobody reads a second pipe meanwhile.
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            cwd=cwd,
            env=None if env is None else dict(env),
            pass_fds=pass_fds,
        )
        with process:
            try:
                _hand_on(process, on_line)
            except KeyboardInterrupt:
                process.terminate()
                _hand_on(process, on_line)
                raise
            except BaseException:
                process.kill()
                raise
        errors.seek(0)
        return process.returncode, errors.read().decode(errors="replace")


def _hand_on(process: subprocess.Popen[bytes], on_line: Callable[[str], None]) -> None:
    for line in process.stdout or ():
        if line.endswith(b"\n"):
            on_line(line[:-1].decode(errors="replace"))
