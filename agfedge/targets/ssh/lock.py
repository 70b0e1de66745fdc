"""The lock of a target on a host: a process there holds it, for as long as this one lives and is heard."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from types import TracebackType

from agfedge.targets.ssh.address import Address
from agfedge.targets.ssh.connection import SSH_FAILED, explain
from agfedge.targets.target import BusyError, DeployError
from agfedge_runtime.releases.lock import LOCK as _LOCK

HEARTBEAT_S = 10


class Holder:
    """The process that holds a target's lock; a context manager.

    The kernel lets the lock go when the process ends. It ends when its stdin does, since this process has ended or
    was killed; and when its stdin is silent for ``SILENCE_S``, since the network was cut.
    """

    LOCK = _LOCK
    SILENCE_S = 60

    def __init__(self, argv: Sequence[str], name: str, address: Address) -> None:
        self._name = name
        self._address = address
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 -- closed by __exit__
        self._process = subprocess.Popen(
            list(argv), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, bufsize=0
        )
        self._stop = threading.Event()
        self._beat = threading.Thread(target=self._keep_beating, daemon=True)

    def __enter__(self) -> Holder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._beat.ident is not None:
            self._beat.join()
        with contextlib.suppress(BrokenPipeError), self._process:
            pass
        self._errors.close()

    def take(self, source: bytes) -> None:
        """Send the holder's program and wait for its answer.

        Raises:
            BusyError: Another deploy holds the target.
            DeployError: The connection is lost, or the folder cannot be made or locked.
        """
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise DeployError(f"{self._name}: the lock's process has no pipes")
        with contextlib.suppress(BrokenPipeError):
            stdin.write(source)
        answer = stdout.readline().strip()
        if answer == b"busy":
            raise BusyError(f"{self._name}: another deploy holds the target; wait until it ends")
        if answer != b"held":
            raise DeployError(f"{self._name}: {self._failure()}")
        self._beat.start()

    def check(self) -> None:
        """See that the lock is still held.

        Raises:
            DeployError: It is not.
        """
        if self._process.poll() is not None:
            raise DeployError("the connection was lost; deploy again, which continues from what is there")

    def _failure(self) -> str:
        returncode = self._process.wait()
        self._errors.seek(0)
        said = self._errors.read().decode(errors="replace")
        if returncode == SSH_FAILED:
            return explain(self._address, said)
        last = (said.strip().splitlines() or [f"exit code {returncode}"])[-1].strip()
        return f"cannot be a target: {last}; give a folder that you may write"

    def _keep_beating(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            while self._process.stdin is not None and not self._stop.wait(HEARTBEAT_S):
                self._process.stdin.write(b".")
