"""Decide inputs that come at a fixed rate, as from a camera: what waits counts, and what finds no room is dropped.

One server, a queue of N places, arrivals at equal distances: D/G/1/N+1 in Kendall's notation. Until shortly before a
moment its clock waits asleep, so that nothing else is disturbed, then awake.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

from agfedge_runtime.errors import InputError
from agfedge_runtime.profile.record import RATE
from agfedge_runtime.profile.recorder import Recorder

# Beyond this the arrivals that are dropped take longer to count than a decision takes.
MOST_FPS = 100_000
COLUMNS = ("latency_us", "service_us", "branches", "dropped")
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


def check_rate(fps: float, queue: int) -> None:
    """Refuse what is no rate.

    Raises:
        InputError: it is none, or the queue has no place.
    """
    if not 0 < fps <= MOST_FPS:
        raise InputError(f"--rate is {fps:g}: expected inputs a second, above 0 and at most {MOST_FPS}")
    if queue < 1:
        raise InputError(f"--queue is {queue}: expected 1 or more inputs that may wait")


def record_rate(
    decide: Callable[[int], int], fps: float, queue: int, inputs: int, recorder: Recorder, clock: Clock
) -> None:
    """Let inputs come at a rate until so many have come, and every one of them was decided or dropped.

    Latency is from the scheduled arrival to the answer. An input that comes in the moment in which the one before it
    is answered finds its place free. What the recorder does between decisions stops the arrivals as well as the
    decisions: it is no part of what is timed.

    Args:
        decide: decides the input of a number, from 0 up; returns its branch.
        fps: inputs a second.
        queue: how many may wait beside the one that is being decided.
        inputs: how many come.
        recorder: takes every decision.
        clock: says when.

    Raises:
        InputError: `fps` or `queue` makes no sense.
    """
    check_rate(fps, queue)
    recorder.section(RATE, COLUMNS, {"fps": float(fps), "queue": queue})
    arrivals = _Arrivals(fps, queue, inputs, clock.now_ns())
    while True:
        if not arrivals.waiting:
            if arrivals.next_ns is None:
                return
            clock.wait_until(arrivals.next_ns)
            arrivals.let_one_come()
        number, came_ns = arrivals.waiting.popleft()
        started_ns = clock.now_ns()
        branch = decide(number)
        ended_ns = clock.now_ns()
        arrivals.come_before(ended_ns)
        recorder.add(((ended_ns - came_ns) / 1e3, (ended_ns - started_ns) / 1e3, branch, arrivals.dropped))
        arrivals.put_off(clock.now_ns() - ended_ns)


class _Arrivals:
    """The schedule, and who waits."""

    def __init__(self, fps: float, queue: int, inputs: int, begin_ns: int) -> None:
        self._fps, self._queue, self._inputs, self._begin_ns = fps, queue, inputs, begin_ns
        self._came = 0
        # Number and scheduled arrival of each that waits.
        self.waiting: deque[tuple[int, int]] = deque()
        self.dropped = 0

    @property
    def next_ns(self) -> int | None:
        """When the next one is scheduled; None after the last."""
        return None if self._came == self._inputs else self._begin_ns + round(self._came * 1e9 / self._fps)

    def come_before(self, moment_ns: int) -> None:
        """Let all come that were scheduled before a moment; what finds no place is dropped."""
        while self.next_ns is not None and self.next_ns < moment_ns:
            if len(self.waiting) < self._queue:
                self.let_one_come()
            else:
                self._came += 1
                self.dropped += 1

    def let_one_come(self) -> None:
        """Let the next one come; there is one."""
        moment = self.next_ns
        if moment is not None:
            self.waiting.append((self._came, moment))
            self._came += 1

    def put_off(self, duration_ns: int) -> None:
        """Stop the schedule for a while, for what waits and for what comes."""
        self._begin_ns += duration_ns
        self.waiting = deque((number, moment + duration_ns) for number, moment in self.waiting)
