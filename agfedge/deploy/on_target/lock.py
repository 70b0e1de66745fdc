"""The lock of a target: it is the kernel's, so that a killed deploy never leaves it behind."""

import fcntl
import os
import select

LOCK = ".deploy.lock"


def hold(seconds: float) -> None:
    """Hold the folder until stdin ends, or is silent for so many seconds; print ``held`` or ``busy``."""
    handle = os.open(LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # From here on the commands of this deploy share it. That is two steps: who comes in between wins.
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        print("busy", flush=True)  # noqa: T201 -- it is what the other end reads
        return
    print("held", flush=True)  # noqa: T201
    while select.select([0], [], [], seconds)[0] and os.read(0, 1 << 12):
        pass
