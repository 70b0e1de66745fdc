"""A clock that waits for a moment: asleep until shortly before, so that nothing else is disturbed, then awake."""

from __future__ import annotations

import time
from typing import Protocol

# How late a sleeper may wake, on a kernel that is not busy.
_AWAKE_NS = 800_000


class Clock(Protocol):
    """Tells the time, and passes it; a test's clock only says so."""

    def now_ns(self) -> int:
        """Nanoseconds since some moment."""
        ...

    def wait_until(self, moment_ns: int) -> None:
        """Return at a moment, or at once where it has passed."""
        ...


class MonotonicClock:
    """The machine's clock."""

    def now_ns(self) -> int:
        """See `Clock.now_ns`."""
        return time.perf_counter_ns()

    def wait_until(self, moment_ns: int) -> None:
        """See `Clock.wait_until`; it spins for less than a millisecond."""
        asleep_ns = moment_ns - _AWAKE_NS - time.perf_counter_ns()
        if asleep_ns > 0:
            time.sleep(asleep_ns / 1e9)
        while time.perf_counter_ns() < moment_ns:
            pass
