"""Inputs at a fixed rate, on a clock that a test moves: latency and drops are what queueing says, to the nanosecond."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import cycle, repeat

import numpy as np
import pytest

from agfedge_runtime.errors import InputError
from agfedge_runtime.profile.rate import MonotonicClock, record_rate
from agfedge_runtime.profile.record import RATE, Section
from agfedge_runtime.profile.recorder import Recorder

MS = 1_000_000


class SimulatedClock:
    """Time that passes only when it is waited for."""

    def __init__(self) -> None:
        self.time_ns = 7 * MS

    def now_ns(self) -> int:
        return self.time_ns

    def wait_until(self, moment_ns: int) -> None:
        self.time_ns = max(self.time_ns, moment_ns)


def simulate(
    fps: float, queue: int, inputs: int, services_ns: Iterator[int], between_ns: int = 0
) -> tuple[Section, list[int]]:
    """Rows of a simulated run, and which inputs were decided; `between_ns` passes after each decision."""
    clock, decided = SimulatedClock(), []

    def decide(number: int) -> int:
        decided.append(number)
        clock.time_ns += next(services_ns)
        return number % 3

    def pause() -> None:
        clock.time_ns += between_ns

    recorder = Recorder({}, checkpoint=pause)
    record_rate(decide, fps, queue, inputs, recorder, clock)
    return recorder.record.sections[RATE], decided


def by_hand(interval_ns: int, queue: int, services_ns: Iterator[int], inputs: int) -> tuple[list[float], int]:
    """Latencies in microseconds and the number of drops, input by input: who is still there when one comes."""
    departures: list[int] = []
    latencies_us, dropped = [], 0
    for number in range(inputs):
        came = number * interval_ns
        there = [moment for moment in departures if moment > came]
        # One of them is being decided.
        if len(there) > queue:
            dropped += 1
            continue
        departures.append(max([came, *there]) + next(services_ns))
        latencies_us.append((departures[-1] - came) / 1e3)
    return latencies_us, dropped


def test_below_capacity_latency_is_service_and_nothing_is_dropped():
    rows, decided = simulate(100, 1, 50, repeat(4 * MS))
    assert decided == list(range(50))
    assert rows.column("latency_us") == rows.column("service_us") == [4000.0] * 50
    assert rows.column("dropped") == [0] * 50
    assert rows.column("branches") == [number % 3 for number in range(50)]


def test_at_capacity_nothing_waits():
    rows, decided = simulate(100, 1, 50, repeat(10 * MS))
    assert len(decided) == 50
    assert rows.column("latency_us") == [10_000.0] * 50


def test_above_capacity_the_server_is_always_busy_and_the_rest_is_dropped():
    """D/D/1/2: 100 a second come, 40 a second are decided; each waits for the rest of the decision before it."""
    rows, decided = simulate(100, 1, 1000, repeat(25 * MS))
    latencies_us = np.array(rows.column("latency_us"))
    # It begins at 0 ms, then every 25 ms: the one that waits came at the first tick at or after the last begin.
    assert decided[:7] == [0, 1, 3, 5, 8, 10, 13]
    assert latencies_us[:7].tolist() == [25_000.0, 40_000.0, 45_000.0, 50_000.0, 45_000.0, 50_000.0, 45_000.0]
    # The throughput is the server's: the last one that comes is at 9990 ms.
    assert len(decided) == pytest.approx(9990 / 25, abs=2)
    assert rows.column("dropped")[-1] == 1000 - len(decided)


@pytest.mark.parametrize("queue", [1, 2, 5, 1000])
@pytest.mark.parametrize("services_ms", [(4,), (25,), (10,), (3, 3, 31), (1, 1, 1, 30), (12, 9)])
def test_latency_and_drops_are_those_of_a_queue_worked_out_by_hand(queue, services_ms):
    def services() -> Iterator[int]:
        return cycle(each * MS for each in services_ms)

    rows, _ = simulate(100, queue, 300, services())
    latencies_us, dropped = by_hand(10 * MS, queue, services(), 300)
    assert rows.column("latency_us") == latencies_us
    assert rows.column("dropped")[-1] == dropped


def test_with_room_for_all_waiting_follows_lindley():
    """W(n+1) = max(0, W(n) + S(n) - T) (Lindley, 1952)."""
    services_ns = np.random.default_rng(0).exponential(9 * MS, 500).astype(np.int64).tolist()
    rows, _ = simulate(100, 10_000, 500, iter(services_ns))
    waits_ns = [0]
    for service_ns in services_ns[:-1]:
        waits_ns.append(max(0, waits_ns[-1] + service_ns - 10 * MS))
    expected = [(wait + service) / 1e3 for wait, service in zip(waits_ns, services_ns, strict=True)]
    assert rows.column("latency_us") == expected


def test_every_input_is_decided_or_dropped():
    rows, decided = simulate(333.3, 3, 777, cycle((2 * MS, 9 * MS)))
    assert len(decided) + rows.column("dropped")[-1] == 777
    assert len(rows.rows) == len(decided)


def test_what_the_recorder_takes_is_no_part_of_what_is_timed():
    plain, _ = simulate(100, 2, 200, cycle((3 * MS, 21 * MS)))
    disturbed, _ = simulate(100, 2, 200, cycle((3 * MS, 21 * MS)), between_ns=55 * MS)
    assert disturbed.rows == plain.rows


@pytest.mark.parametrize(
    ("fps", "queue", "part"),
    [
        (0, 1, "--rate is 0"),
        (-5, 1, "--rate is -5"),
        (1e6, 1, r"--rate is 1e\+06"),
        (float("nan"), 1, "--rate is nan"),
        (30, 0, "--queue is 0"),
    ],
)
def test_a_rate_that_is_none_is_refused(fps, queue, part):
    with pytest.raises(InputError, match=f"{part}: expected"):
        record_rate(lambda number: 0, fps, queue, 10, Recorder({}), SimulatedClock())


@pytest.mark.parametrize("ahead_ns", [-MS, 0, 300_000, 5 * MS])
def test_the_machines_clock_waits_for_the_moment_and_sleeps_all_but_the_last_of_it(ahead_ns):
    clock, slept_ns = MonotonicClock(), []
    sleep: Callable[[float], None] = time.sleep
    moment_ns = clock.now_ns() + ahead_ns
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(time, "sleep", lambda seconds: (slept_ns.append(seconds * 1e9), sleep(seconds)))
        clock.wait_until(moment_ns)
    assert clock.now_ns() >= moment_ns
    assert ahead_ns - sum(slept_ns) < MS, "it spins for less than a millisecond"
