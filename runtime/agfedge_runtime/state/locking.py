"""Lock the clocks while something is measured, and put them back whatever happens.

`jetson_clocks --store FILE` keeps what it is about to change, `jetson_clocks` sets the clocks to the highest of the
power mode, `jetson_clocks --restore FILE` puts them back (NVIDIA's developer guide; the script itself). All need root.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from pathlib import Path
from typing import Callable, Iterator, Sequence

from agfedge_runtime.errors import InputError
from agfedge_runtime.machine.machine import Command, is_file, read_power_mode, run_command
from agfedge_runtime.stopping import Stopping

_PROGRAM = "usr/bin/jetson_clocks"
_BOOT_ID = "proc/sys/kernel/random/boot_id"
_STORED = "clocks-{}.conf"


@contextlib.contextmanager
def locked_clocks(
    confirm: Callable[[str], bool],
    command: Command | None = None,
    *,
    root: Path = Path("/"),
    folder: Path | None = None,
) -> Iterator[None]:
    """Lock the device's clocks in a `with` block; they are put back when it ends, also by an error or a signal.

    What was before is kept in a file: after a run that was killed, the next one offers to put it back first. A restart
    of the device puts the clocks back by itself.

    Args:
        confirm: asked before anything is changed, with a question; nothing is changed where it answers False.
        command: runs a program and returns what it prints, or None where it fails; by default it really runs it.
        root: where the device's file system begins.
        folder: where the file is kept; by default the user's state folder.

    Raises:
        InputError: there is no `jetson_clocks`, it may not be run, somebody said no, another run has locked the clocks,
            or they cannot be put back.
        Terminated: SIGTERM came; the clocks are back.
    """
    clocks = _Clocks(root, _state_folder() if folder is None else folder, run_command if command is None else command)
    clocks.check()
    with _alone(clocks.folder):
        clocks.clean_up(confirm)
        if not confirm(clocks.question()):
            raise InputError("the clocks were not locked, as was answered; leave out --lock-clocks to measure without")
        with Stopping():
            try:
                clocks.lock()
                yield
            finally:
                with _signals_wait():
                    clocks.restore()


class _Clocks:
    """jetson_clocks of a device, and the file that keeps what was before."""

    def __init__(self, root: Path, folder: Path, command: Command) -> None:
        self.folder = folder
        self._root = root
        self._command = command
        self._program = f"/{_PROGRAM}"
        self._stored = folder / _STORED.format(_boot(root))

    def check(self) -> None:
        if not is_file(self._root / _PROGRAM):
            raise InputError(f"the clocks cannot be locked: there is no {self._program}; this is no Jetson with L4T")
        if self._run("--show") is None:
            raise InputError(
                f"the clocks cannot be locked: {self._line('--show')} failed; run as root, or allow it in sudoers "
                "without a password"
            )

    def clean_up(self, confirm: Callable[[str], bool]) -> None:
        """Put back what a killed run left locked."""
        for path in self.folder.glob(_STORED.format("*")):
            if path != self._stored:
                # Of an earlier start of the device, which put the clocks back by itself.
                path.unlink()
        if not self._stored.exists():
            return
        put_back = self._line("--restore", str(self._stored))
        if not confirm(f"A run that was killed has left the clocks locked. Put them back first, by {put_back}?"):
            raise InputError(f"the clocks are still locked by a run that was killed; put them back by {put_back}")
        self.restore()

    def question(self) -> str:
        mode = read_power_mode(self._root, self._command)
        named = f" ({mode.name or mode.number})" if mode is not None else ""
        return (
            f"This runs {self._line()}, which holds the clocks of CPU, GPU and memory at the highest of the power "
            f"mode{named}. They are put back after the measurement. Go on?"
        )

    def lock(self) -> None:
        if self._run("--store", str(self._stored)) is None or not self._stored.exists():
            raise InputError(f"the clocks were not locked: {self._line('--store', str(self._stored))} failed")
        if self._run() is None:
            raise InputError(f"the clocks were not locked: {self._line()} failed")

    def restore(self) -> None:
        if not self._stored.exists():
            return
        if self._run("--restore", str(self._stored)) is None:
            raise InputError(
                f"the clocks were not put back: {self._line('--restore', str(self._stored))} failed; run it by hand, "
                "or restart the device"
            )
        with contextlib.suppress(FileNotFoundError):
            self._stored.unlink()

    def _run(self, *options: str) -> str | None:
        return self._command(self._argv(options))

    def _line(self, *options: str) -> str:
        return repr(" ".join(self._argv(options)))

    def _argv(self, options: Sequence[str]) -> list[str]:
        # -n: it never asks for a password, which a measurement without a terminal would wait for.
        prefix = [] if os.geteuid() == 0 else ["sudo", "-n"]
        return [*prefix, self._program, *options]


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Let one run at a time lock the clocks; the system lets go of the lock when a run is killed."""
    import fcntl

    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(folder / "clocks.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written: {error.strerror}; --lock-clocks keeps a file there") from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError("another run has locked the clocks; wait for its end") from error
        yield
    finally:
        os.close(handle)


@contextlib.contextmanager
def _signals_wait() -> Iterator[None]:
    """Ignore Ctrl-C and SIGTERM for a moment, here and in the programs that are started: the clocks go back first."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            # None is a handler that Python did not set, and cannot set.
            if handler is not None:
                signal.signal(number, handler)


def _state_folder() -> Path:
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "agfedge"


def _boot(root: Path) -> str:
    """Which start of the device this is."""
    try:
        text = (root / _BOOT_ID).read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return "unknown"
    return "".join(each for each in text if each.isalnum() or each == "-")[:40] or "unknown"
