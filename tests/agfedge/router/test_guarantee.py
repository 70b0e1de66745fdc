"""The certified threshold: what it promises holds, as often as it says."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binom

from agfedge.router.guarantee import NEVER, Bound, certify, threshold_grid
from agfedge.router.net_risk import critical_losses
from agfedge_runtime.errors import InputError

CLASSES = 4
BOUND = Bound(0.05, 0.1)
GRID = threshold_grid(np.linspace(1 / CLASSES, 1, 1000))


def draw(generator: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Confidences, uniform from chance to 1; light is wrong with probability (1 - confidence) / 2, heavy never."""
    confidence = generator.uniform(1 / CLASSES, 1, count).astype(np.float32)
    return confidence, generator.uniform(size=count) >= (1 - confidence) / 2, np.ones(count, bool)


def true_risk(threshold: float) -> float:
    """P(confidence >= threshold and light wrong), by integration of the above."""
    low = min(max(threshold, 1 / CLASSES), 1)
    return (1 - low) ** 2 / 4 / (1 - 1 / CLASSES)


@pytest.mark.parametrize(("epsilon", "delta", "count"), [(0.05, 0.1, 200), (0.02, 0.2, 300)])
def test_over_1000_calibration_sets_the_bound_fails_in_at_most_delta(epsilon: float, delta: float, count: int) -> None:
    generator = np.random.default_rng(0)
    thresholds = [certify(*draw(generator, count), GRID, Bound(epsilon, delta))[0] for _ in range(1000)]
    failures = sum(true_risk(threshold) > epsilon for threshold in thresholds)
    # The sampling error of 1,000 draws: more than this happens once in a thousand where the rate is delta.
    assert failures <= binom.ppf(0.999, 1000, delta)
    # And the guarantee is no excuse for answering nothing.
    assert np.mean([true_risk(threshold) for threshold in thresholds]) > epsilon / 4


def test_the_threshold_is_the_lowest_whose_losses_pass_all_the_way_down() -> None:
    confidence, light, heavy = draw(np.random.default_rng(1), 500)
    heavy = heavy & (np.arange(500) % 10 != 0)
    early = np.arange(500) % 7 == 0
    threshold, found = certify(confidence, light, heavy, GRID, BOUND, early)
    counts = [
        [int((hits & ~early & (confidence >= each)).sum()) for each in GRID]
        for hits in (heavy & ~light, light & ~heavy)
    ]
    allowed = critical_losses(500, 0.05, 0.1, int((light & ~heavy).sum()))
    last = [lost <= allowed[gained] for lost, gained in zip(*counts, strict=True)].index(False) - 1
    assert (threshold, found.losses, found.gains) == (GRID[last], counts[0][last], counts[1][last])
    assert (found.epsilon, found.delta, found.samples) == (0.05, 0.1, 500)


def test_gains_offset_losses() -> None:
    confidence, light, heavy = draw(np.random.default_rng(1), 500)
    without, _ = certify(confidence, light, heavy, GRID, BOUND)
    gaining = heavy & ~(light & (np.arange(500) % 20 == 0))
    assert certify(confidence, light, gaining, GRID, BOUND)[0] < without


@pytest.mark.slow
@pytest.mark.parametrize("gain", [0.0, 0.004, 0.02, 0.1])
def test_at_the_boundary_the_test_errs_in_at_most_delta(gain: float) -> None:
    epsilon, delta, count = 0.03, 0.1, 400
    generator = np.random.default_rng(3)
    drawn = generator.multinomial(count, [gain + epsilon, gain, 1 - 2 * gain - epsilon], 1000)
    # All gains of a light expert: those of the cascade, and some that it escalates.
    wrongly = sum(
        losses <= critical_losses(count, epsilon, delta, int(gains + generator.binomial(10, 0.5)))[gains]
        for losses, gains, _ in drawn
    )
    assert wrongly <= binom.ppf(0.999, 1000, delta)


@pytest.mark.parametrize(("count", "epsilon", "delta"), [(60, 0.1, 0.2), (80, 0.05, 0.1)])
def test_the_level_holds_exactly_at_every_chance_of_a_gain(count: int, epsilon: float, delta: float) -> None:
    # Every table of a small split, the limit on gains at its loosest: what may happen is added up, not drawn.
    allowed = critical_losses(count, epsilon, delta, count)
    gains = np.arange(count + 1)
    for gain in np.linspace(1e-9, (1 - epsilon) / 2 - 1e-9, 200):
        beside = binom.cdf(allowed, count - gains, (gain + epsilon) / (1 - gain))
        assert (binom.pmf(gains, count, gain) * np.nan_to_num(beside)).sum() <= delta


def test_it_has_nearly_the_power_of_normal_theory() -> None:
    # Loss 1.0%, gain 0.8%, epsilon 0.5%, 5,000 samples: normal theory certifies about 0.47 of such splits.
    drawn = np.random.default_rng(0).multinomial(5000, [0.010, 0.008, 0.982], 4000)
    allowed = critical_losses(5000, 0.005, 0.05, 80)
    assert (drawn[:, 0] <= allowed[np.minimum(drawn[:, 1], 80)]).mean() > 0.40


def test_wrong_answers_where_heavy_is_wrong_too_cost_nothing() -> None:
    confidence = np.linspace(0.3, 1, 200, dtype=np.float32)
    nobody = np.zeros(200, bool)
    assert certify(confidence, nobody, nobody, GRID, BOUND)[0] == 0


def test_nothing_certifies_where_light_is_wrong_and_sure() -> None:
    threshold, found = certify(np.ones(200, np.float32), np.zeros(200, bool), np.ones(200, bool), GRID, BOUND)
    assert (threshold, found.losses) == (NEVER, 0)


def test_the_sequence_ends_at_the_first_threshold_that_fails() -> None:
    # Losses near 1 and none below: testing on, a data-driven choice, would void the guarantee.
    confidence = np.concatenate([np.full(30, 0.9999, np.float32), np.full(170, 0.5, np.float32)])
    light = confidence < 0.9
    assert certify(confidence, light, np.ones(200, bool), GRID, BOUND)[0] > 0.9999


def test_the_grid_runs_from_the_surest_row_to_zero() -> None:
    confidence = np.random.default_rng(0).uniform(0.3, 0.9, 500)
    grid = threshold_grid(confidence)
    assert grid[0] == confidence.max()
    assert grid[-1] == 0
    assert (np.diff(grid) < 0).all()


@pytest.mark.parametrize(("epsilon", "delta"), [(0.05, 0.1), (0.005, 0.05), (0.3, 0.9), (0.9, 0.9)])
def test_the_number_of_samples_it_takes_is_exact(epsilon: float, delta: float) -> None:
    needed = Bound(epsilon, delta).samples_needed()
    assert needed >= 1
    assert critical_losses(needed, epsilon, delta, 0)[0] >= 0
    assert needed == 1 or critical_losses(needed - 1, epsilon, delta, 0)[0] < 0


def test_with_just_enough_samples_a_faultless_light_expert_is_certified() -> None:
    needed = BOUND.samples_needed()
    right = np.ones(needed, bool)
    confidence = np.full(needed, 0.99, np.float32)
    assert certify(confidence, right, right, GRID, BOUND)[0] < 0.99


def test_too_few_samples_say_how_many_it_takes() -> None:
    right = np.ones(40, bool)
    with pytest.raises(InputError, match=r"40 calibration samples cannot certify .* it takes at least \d+; give more"):
        certify(np.ones(40, np.float32), right, right, GRID, BOUND)


@pytest.mark.parametrize("value", [0.0, 1.0, -0.1, math.nan, 1e-320])
@pytest.mark.parametrize("name", ["epsilon", "delta"])
def test_bounds_outside_zero_to_one_are_refused(name: str, value: float) -> None:
    right = np.ones(100, bool)
    bounds = {"epsilon": 0.05, "delta": 0.1, name: value}
    with pytest.raises(InputError, match=f"--{name} is .*: expected a number between 0 and 1"):
        certify(np.ones(100, np.float32), right, right, GRID, Bound(**bounds))


def test_confidences_are_compared_in_double_precision_as_the_runtime_does() -> None:
    # Thresholds that float32 would round up onto this confidence: the runtime answers below it, never above.
    grid = GRID
    above = grid[grid.astype(np.float32) < grid][5]
    confidence = np.full(200, np.float32(above))
    assert confidence[0] < above
    assert certify(confidence, np.zeros(200, bool), np.ones(200, bool), grid, BOUND)[0] == above
