"""Intervals and percentiles, against their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest

from agfedge.base.statistics import mean_by, mean_of, percentile, ratio_of_means, share_of, variation


def wilson(count: int, samples: int) -> tuple[float, float]:
    """Wilson's score interval, from its closed form."""
    z = 1.959963984540054
    p = count / samples
    centre = (p + z**2 / (2 * samples)) / (1 + z**2 / samples)
    half = z / (1 + z**2 / samples) * math.sqrt(p * (1 - p) / samples + z**2 / (4 * samples**2))
    return max(0.0, centre - half), min(1.0, centre + half)


@pytest.mark.parametrize(("count", "samples"), [(0, 10), (3, 10), (10, 10), (485, 1000), (1, 1)])
def test_a_share_has_its_wilson_interval(count: int, samples: int) -> None:
    share = share_of(np.arange(samples) < count)
    assert (share.value, share.count, share.samples) == (count / samples, count, samples)
    assert (share.low, share.high) == pytest.approx(wilson(count, samples), abs=1e-9)


def test_a_ratio_of_means_is_not_a_mean_of_ratios() -> None:
    found = ratio_of_means(np.array([1.0, 3.0]), np.array([1.0, 1.0]))
    assert found.value == 2.0
    assert found.low <= 2.0 <= found.high


def test_the_bootstrap_covers_the_true_ratio_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)
    hits = 0
    for seed in range(60):
        below = generator.uniform(1, 3, 200)
        above = 0.4 * below + generator.normal(0, 0.3, 200)
        found = ratio_of_means(above, below, seed)
        hits += found.low <= 0.4 <= found.high
    assert hits >= 51  # 95% of 60 is 57; fewer than 51 has a probability of 0.2%


def test_pairs_are_resampled_together() -> None:
    # What is twice the other in every pair is twice the other in every resample.
    below = np.random.default_rng(0).uniform(1, 9, 50)
    found = ratio_of_means(2 * below, below)
    assert (found.low, found.high) == pytest.approx((2.0, 2.0))


def test_one_pair_has_no_interval() -> None:
    found = ratio_of_means(np.array([3.0]), np.array([2.0]))
    assert found.value == 1.5
    assert math.isnan(found.low)
    assert math.isnan(found.high)


@pytest.mark.parametrize(("percent", "floor"), [(50, 1), (90, 64), (99, 662)])
def test_a_percentile_needs_its_number_of_samples(percent: int, floor: int) -> None:
    samples = np.arange(floor, dtype=np.float64)
    assert percentile(samples, percent) == pytest.approx(np.percentile(samples, percent))
    assert percentile(samples[:-1], percent) is None


def test_a_mean_has_an_interval_that_covers_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)
    hits = 0
    for seed in range(60):
        found = mean_of(generator.exponential(5.0, 400), seed)
        hits += found.low <= 5.0 <= found.high
    assert hits >= 50


def test_samples_that_are_like_their_neighbours_widen_the_interval() -> None:
    steps = np.random.default_rng(0).normal(0, 1, 100).repeat(10)  # ten alike in a row
    mixed = np.random.default_rng(1).permutation(steps)
    (near, far) = (mean_of(each) for each in (steps, mixed))
    assert near.value == pytest.approx(far.value)
    assert near.high - near.low > 2 * (far.high - far.low)


def test_a_mean_of_one_sample_has_no_interval() -> None:
    for mean in (mean_of(np.array([3.0])), mean_by(np.array([3.0, 3.0]), np.array([7, 7]))):
        assert mean.value == 3.0
        assert mean.interval == (None, None)


def test_every_sample_counts_in_a_mean_whatever_its_block() -> None:
    samples = np.arange(1000.0)  # the last block is shorter
    assert mean_of(samples).value == samples.mean()


def test_what_repeats_by_group_tells_nothing_new() -> None:
    groups = np.tile(np.arange(50), 40)
    escalated = (groups < 5).astype(np.float64)
    found = mean_by(escalated, groups)
    once = mean_by(escalated[:50], groups[:50])
    assert found.value == once.value == 0.1
    assert (found.low, found.high) == (once.low, once.high)


def test_a_share_of_repetitions_has_the_interval_of_what_is_independent() -> None:
    hits = np.tile(np.arange(50) < 5, 40)
    found, once = share_of(hits, 50), share_of(hits[:50])
    assert (found.count, found.samples, found.value) == (200, 2000, 0.1)
    assert (found.low, found.high) == (once.low, once.high)
    assert share_of(hits[:50], 1000) == once


def test_the_coefficient_of_variation_is_the_deviation_over_the_mean() -> None:
    assert variation(np.array([1.0, 3.0])) == pytest.approx(math.sqrt(2) / 2)
    assert variation(np.array([1.0])) is None
    assert variation(np.zeros(3)) is None
