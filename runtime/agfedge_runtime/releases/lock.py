"""The lock of a target: it is the kernel's, so that a killed deploy never leaves it behind."""

from __future__ import annotations

import fcntl
import glob
import os
import select
import signal

LOCK = ".deploy.lock"


def hold(seconds: float) -> None:
    """Hold the folder until stdin ends, or is silent for so many seconds; print ``held`` or ``busy``.

    What the deploy started here and shares the lock ends with the silence: nobody will read what it says, and it may
    wait for its input until the kernel gives the connection up.
    """
    handle = os.open(LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # From here on the commands of this deploy share it. That is two steps: who comes in between wins.
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        print("busy", flush=True)  # noqa: T201 -- it is what the other end reads
        return
    print("held", flush=True)  # noqa: T201
    while select.select([0], [], [], seconds)[0]:
        if not os.read(0, 1 << 12):
            return
    _end_others(handle)


def _end_others(handle: int) -> None:
    lock = os.fstat(handle)
    for path in glob.glob("/proc/[0-9]*/fd/*"):
        pid = int(path.split("/")[2])
        try:
            if pid != os.getpid() and os.path.samestat(os.stat(path), lock):
                os.kill(pid, signal.SIGKILL)
        except OSError:  # it has ended, or is not ours
            pass
