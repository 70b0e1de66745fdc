"""A folder on this machine as a target: the same stages as on a device, for trials, tests and demos."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from agfedge.targets.target import BusyError, Completed, DeployError, run_streaming
from agfedge_runtime.releases import transfer
from agfedge_runtime.releases.lock import LOCK

_FOLDER_MODE, _FILE_MODE = 0o755, 0o644


class LocalTarget:
    """A folder on this machine.

    Attributes:
        name: The folder, as given.
        python: The interpreter that runs the releases; by default this one.
    """

    def __init__(self, folder: Path, python: str = sys.executable) -> None:
        self.name = str(folder)
        self.python = python
        self._folder = folder.absolute()
        self._lock_handle: int | None = None

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the target for one deploy; see ``Target.lock``."""
        handle = self._open_lock()
        try:
            self._take(handle)
            self._lock_handle = handle
            yield
        finally:
            self._lock_handle = None
            os.close(handle)

    def run(
        self, argv: Sequence[str], *, stdin: bytes = b"", env: Mapping[str, str] | None = None, anywhere: bool = False
    ) -> Completed:
        """Run a command in the folder; see ``Target.run``.

        What this Python was told by its environment is withheld from the command: a device would not know it.
        """
        try:
            done = subprocess.run(
                list(argv),
                input=stdin,
                capture_output=True,
                cwd=_nearest(self._folder) if anywhere else self._folder,
                env=_environment(env),
                pass_fds=self._held,
                check=False,
            )
        except OSError as error:
            raise DeployError(f"cannot run {argv[0]}: {error.strerror}") from error
        stdout, stderr = (text.decode(errors="replace") for text in (done.stdout, done.stderr))
        return Completed(done.returncode, stdout, stderr)

    def stream(
        self, argv: Sequence[str], on_line: Callable[[str], None], *, env: Mapping[str, str] | None = None
    ) -> Completed:
        """Run a command in the folder and hand on its lines; see ``Target.stream``."""
        try:
            returncode, stderr = run_streaming(
                argv, on_line, cwd=self._folder, env=_environment(env), pass_fds=self._held
            )
        except OSError as error:
            raise DeployError(f"cannot run {argv[0]}: {error.strerror}") from error
        return Completed(returncode, "", stderr)

    def put(self, source: Path, destination: PurePosixPath, sent: Callable[[int], None] | None = None) -> None:
        """Copy a folder; see ``Target.put``."""
        try:
            mirror(source, self._folder / destination, sent)
        except (OSError, ValueError) as error:
            raise DeployError(f"cannot copy {source} to {destination}: {error}") from error

    @property
    def _held(self) -> tuple[int, ...]:
        """What a command keeps open: one that outlives a killed deploy keeps the lock until it ends."""
        return () if self._lock_handle is None else (self._lock_handle,)

    def _open_lock(self) -> int:
        try:
            make_folder(self._folder)
            return os.open(self._folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, _FILE_MODE)
        except OSError as error:
            raise DeployError(
                f"{self.name}: cannot be a target: {error.strerror}; give a folder that you may write"
            ) from error

    def _take(self, handle: int) -> None:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BusyError(f"{self.name}: another deploy holds the target; wait until it ends") from error


def mirror(source: Path, destination: Path, sent: Callable[[int], None] | None = None) -> None:
    """Make ``destination`` an exact copy of the folder ``source``; see ``Target.put``.

    Raises:
        InputError: ``source`` holds something that is neither a plain file nor a folder.
        OSError: Reading or writing fails.
    """
    folders, files = transfer.contents(source)
    make_folder(destination)
    for name in transfer.prepare(str(destination), folders, files):
        with open(source / name, "rb") as content:
            transfer.place(content, str(destination / name), files[name].size)
        if sent is not None:
            sent(files[name].size)
    transfer.finish(str(destination), folders, files)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it; unlike ``Path.mkdir``, none is writable by all whatever the umask.

    Raises:
        OSError: A name is taken by a file, or the disk says no.
    """
    for path in (*reversed(folder.parents), folder):
        if not path.is_dir():
            path.mkdir(mode=_FOLDER_MODE, exist_ok=True)


def _environment(env: Mapping[str, str] | None) -> dict[str, str]:
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    return {**inherited, **(env or {})}


def _nearest(folder: Path) -> Path:
    return next(place for place in (folder, *folder.parents) if place.is_dir())
