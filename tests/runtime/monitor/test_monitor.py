"""A monitor counts what a cascade decides and warns of drift, rarely without one."""

from __future__ import annotations

import itertools
import logging
import re
import tracemalloc
from dataclasses import replace
from math import comb, prod

import numpy as np
import numpy.typing as npt
import pytest

from agfedge_runtime.bundle.router import Branch
from agfedge_runtime.cascade.decisions import Decisions
from agfedge_runtime.errors import InputError
from agfedge_runtime.monitor.evidence import RateEvidence, rate_band
from agfedge_runtime.monitor.monitor import BINS, Monitor, confidence_histogram

THRESHOLD = 0.6
Floats = npt.NDArray[np.float64]


def decided(confidence: Floats, early: npt.NDArray[np.bool_], threshold: float = THRESHOLD) -> Decisions:
    """What a cascade says for these confidences, had it computed all of them."""
    late = np.where(confidence < threshold, Branch.LATE, Branch.LIGHT)
    branches = np.where(early, Branch.EARLY, late).astype(np.uint8)
    known = np.where(early, np.nan, confidence).astype(np.float32)
    count = len(branches)
    return Decisions(
        np.zeros(count, np.int64), np.zeros((count, 2), np.float32), branches, known * np.nan, known, latency_us=1.0
    )


def drawn(rng: np.random.Generator, count: int, *, power: float = 3.0, early: float = 0.1) -> Decisions:
    """Decisions on inputs whose confidence has the distribution function c^power."""
    return decided(rng.random(count) ** (1 / power), rng.random(count) < early)


def part(decisions: Decisions, start: int, stop: int) -> Decisions:
    rows = slice(start, stop)
    return Decisions(
        decisions.labels[rows], decisions.probabilities[rows], decisions.branches[rows], decisions.prior[rows],
        decisions.confidence[rows], 1.0,
    )  # fmt: skip


def calibrated(decisions: Decisions, **options: float) -> Monitor:
    return Monitor(
        samples=len(decisions.branches),
        early=float((decisions.branches == Branch.EARLY).mean()),
        late=float((decisions.branches == Branch.LATE).mean()),
        confidence=confidence_histogram(decisions.confidence),
        **options,
    )


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def monitor(rng) -> Monitor:
    return calibrated(drawn(rng, 5000))


def test_every_way_and_every_confidence_is_counted(monitor):
    monitor.observe(decided(np.array([0.0, 0.31, 0.99, 1.0, 0.7]), np.array([False, False, False, False, True])))
    stats = monitor.stats()
    assert (stats.decisions, stats.light, stats.early, stats.late) == (5, 2, 1, 2)
    assert {index: count for index, count in enumerate(stats.confidence) if count} == {0: 1, 6: 1, 19: 2}
    assert stats.confidence_sum == pytest.approx(2.3)
    assert stats.escalation_rate == pytest.approx(3 / 5)


def test_where_the_light_expert_did_not_run_there_is_no_confidence(monitor):
    monitor.observe(decided(np.full(300, 0.5), np.ones(300, bool)))
    assert sum(monitor.stats().confidence) == 0
    assert monitor.stats().confidence_sum == 0


def test_the_interval_of_the_escalation_rate_is_wilsons(monitor):
    assert monitor.stats().escalation_interval == (0.0, 1.0)
    monitor.observe(decided(np.repeat([0.1, 0.9], [10, 90]), np.zeros(100, bool)))
    # Wilson's interval of 10 in 100, as published tables give it.
    assert monitor.stats().escalation_interval == pytest.approx((0.0552, 0.1744), abs=1e-4)


def test_before_the_first_decision_there_is_no_rate_and_no_drift(monitor):
    stats = monitor.stats()
    assert stats.decisions == 0
    assert np.isnan(stats.escalation_rate)
    assert (stats.drift, stats.evidence, stats.since, stats.reason) == (False, 1.0, None, "")


@pytest.mark.parametrize("sizes", [(1,), (7, 300, 1), (256,), (5000,)])
@pytest.mark.parametrize("power", [3.0, 2.0])
def test_the_size_of_batches_changes_nothing(rng, sizes, power):
    reference, stream = drawn(rng, 5000), drawn(rng, 5000, power=power)
    whole, pieces = calibrated(reference), calibrated(reference)
    whole.observe(stream)
    start = turn = 0
    while start < len(stream.branches):
        size = sizes[turn % len(sizes)]
        pieces.observe(part(stream, start, start + size))
        start, turn = start + size, turn + 1
    assert pieces.stats() == whole.stats()
    assert whole.stats().drift == (power == 2.0)


@pytest.mark.parametrize("samples", [300, 3000, 100_000])
def test_without_drift_hardly_ever_a_warning(rng, samples):
    warned = 0
    for _ in range(20):
        monitor = calibrated(drawn(rng, samples), alpha=0.05)
        monitor.observe(drawn(rng, 20_000))
        warned += monitor.stats().drift
    # Two or more of twenty at 5% each would still come about in a quarter of runs; more than three in 1.6%.
    assert warned <= 3


def test_the_evidence_is_a_fair_bet_where_the_reference_is_certain():
    """Every stream of five blocks of three answers, weighted by its probability: the expected capital is exactly 1."""
    rate = np.array([0.3])
    chance = [comb(3, hits) * 0.3**hits * 0.7 ** (3 - hits) for hits in range(4)]
    expected = 0.0
    for stream in itertools.product(range(4), repeat=5):
        test = RateEvidence(rate, rate, np.ones(1))
        for hits in stream:
            # Enough decisions to end the shortest block each time and the next one once.
            capital = test.add(np.array([hits]), np.array([3]), 1024)
        expected += capital * prod(chance[hits] for hits in stream)
    assert expected == pytest.approx(1.0, abs=1e-7)


def test_the_evidence_stays_below_the_bet_against_any_rate_in_the_band():
    low, high = np.array([0.2]), np.array([0.4])
    for hits in range(0, 257, 8):
        wide = RateEvidence(low, high, np.ones(1)).add(np.array([hits]), np.array([256]), 256)
        for rate in (low, (low + high) / 2, high):
            assert wide <= RateEvidence(rate, rate, np.ones(1)).add(np.array([hits]), np.array([256]), 256) * (1 + 1e-9)


def test_the_band_holds_for_the_threshold_that_flatters_most(rng):
    missed = 0
    for _ in range(200):
        scores = np.sort(rng.random(400))
        lower, upper = rate_band(np.arange(401.0), 400, 0.05)
        # Between two order statistics the true rate takes every value from one to the other.
        missed += bool((lower > np.append(0.0, scores)).any() or (upper < np.append(scores, 1.0)).any())
    assert missed <= 20


@pytest.mark.parametrize(("power", "early"), [(2.0, 0.1), (4.5, 0.1), (3.0, 0.3), (3.0, 0.0)])
def test_a_shift_of_ten_points_or_more_is_found(rng, monitor, power, early):
    monitor.observe(drawn(rng, 10_000, power=power, early=early))
    stats = monitor.stats()
    assert stats.drift
    assert stats.evidence >= stats.alarm_at


def test_a_drift_that_begins_late_is_found_and_dated(rng, monitor):
    monitor.observe(drawn(rng, 60_000))
    assert not monitor.stats().drift
    monitor.observe(drawn(rng, 10_000, power=1.5))
    stats = monitor.stats()
    assert stats.drift
    assert 60_000 < stats.found_at < 65_000
    assert 58_000 < stats.since < 62_000


def test_confidences_that_change_while_the_rates_do_not_are_found(rng, monitor):
    same = rng.random(20_000) ** (1 / 3)
    pushed = np.where(same >= THRESHOLD, THRESHOLD + (same - THRESHOLD) / 2, same)
    monitor.observe(decided(pushed, rng.random(20_000) < 0.1))
    assert "confidences below" in monitor.stats().reason


def test_drift_is_said_once_in_one_line_with_what_to_do(rng, monitor, caplog):
    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            monitor.observe(drawn(rng, 2000, early=0.5))
    (record,) = caplog.records
    assert record.name == "agfedge_runtime.monitor"
    assert re.search(r"the rate of early escalation went from 0\.1\d\d at calibration to 0\.[45]", record.getMessage())
    assert "calibrate again on fresh data" in record.getMessage()
    assert "\n" not in record.getMessage()


def test_drift_stays_until_the_monitor_is_reset(rng, monitor):
    monitor.observe(drawn(rng, 2000, early=0.6))
    monitor.observe(drawn(rng, 100_000))
    assert monitor.stats().drift
    monitor.reset()
    assert monitor.stats().decisions == 0
    assert not monitor.stats().drift


def test_a_cascade_that_always_asks_the_heavy_expert_never_drifts(rng):
    monitor = Monitor(samples=500, early=1.0, late=0.0, confidence=[0] * BINS)
    monitor.observe(drawn(rng, 20_000, early=1.0))
    assert monitor.stats().calibration_rate == 1.0
    assert not monitor.stats().drift


def test_memory_does_not_grow(rng, monitor):
    rows = [part(drawn(rng, 1000), index, index + 1) for index in range(1000)]
    for row in rows:
        monitor.observe(row)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(10):
        for row in rows:
            monitor.observe(row)
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    # At most one unfinished chunk, 256 references of either kind in lists with room to grow.
    assert grown < 256 * 2 * 16


def test_a_large_batch_is_not_kept_for_its_last_rows(rng, monitor):
    tracemalloc.start()
    monitor.observe(drawn(rng, 100_100))
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert held < 50_000


def test_decisions_without_a_monitor_have_no_stats(tiny):
    assert tiny.cascade()(tiny.mixed()).stats() is None


def test_decisions_tell_the_stats_of_their_monitor(rng, monitor):
    decisions = replace(drawn(rng, 3), monitor=monitor)
    monitor.observe(decisions)
    assert decisions.stats() == monitor.stats()
    assert decisions.stats().decisions == 3


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"samples": 0}, "samples"),
        ({"early": -0.1}, "shares"),
        ({"early": 0.6, "late": 0.6}, "shares"),
        ({"late": float("nan")}, "shares"),
        ({"confidence": [1] * 19}, "19 bins"),
        ({"confidence": [6] * 20}, "20 bins"),
        ({"confidence": [-1] + [1] * 19}, "20 bins"),
        ({"alpha": 0.0}, "alpha"),
        ({"alpha": 1.0}, "alpha"),
    ],
)
def test_a_reference_that_contradicts_itself_is_refused(changed, message):
    sound = {"samples": 100, "early": 0.1, "late": 0.2, "confidence": [4] * 20}
    Monitor(**sound)
    with pytest.raises(InputError, match=message):
        Monitor(**{**sound, **changed})
