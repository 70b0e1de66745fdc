"""What a router would cost, told from the rows that choose it."""

from __future__ import annotations

import numpy as np
import pytest

from agfedge.router import Answers, Bound, choose_estimate
from agfedge_profiles import Rates, expected
from agfedge_runtime.bundle.layout import Costs
from agfedge_runtime.errors import InputError

COSTS = Costs(0.3, trunk=0.2, heavy=0.8)


def rows(count: int = 2000, easy: float = 0.8, seed: int = 0) -> Answers:
    """The heavy expert is right; the light one is right and sure on easy rows, and guesses on the others."""
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, 3, count)
    sure = draw.uniform(size=count) < easy
    light = draw.normal(0, 0.1, (count, 3))
    light[np.arange(count), np.where(sure, labels, (labels + 1) % 3)] += np.where(sure, 8.0, 0.5)
    heavy = 9.0 * np.eye(3)[labels]
    return Answers(light, heavy, labels, {"input_l1": np.where(sure, 0.0, 1.0) + draw.normal(0, 0.01, count)})


def estimate(given: Answers, prior_cost: float = 0.5, epsilon: float = 0.02, samples: int = 4000):
    return choose_estimate(given, COSTS, {"input_l1": prior_cost}, samples, Bound(epsilon, 0.05), 0)


def test_the_cost_of_the_rows_is_the_expected_cost_of_their_rates() -> None:
    found = estimate(rows())
    rates = Rates(float(found.early.mean()), float(found.late.mean()))
    assert found.cost.mean() == pytest.approx(expected(rates, found.costs))


def test_a_prior_that_tells_and_costs_nothing_is_used_and_charged() -> None:
    free, dear = estimate(rows(), prior_cost=0.001), estimate(rows(), prior_cost=0.9)
    assert free.prior is not None
    assert free.early.any()
    assert free.costs.prior == 0.001
    assert dear.prior is None
    assert free.cost.mean() < dear.cost.mean()


def test_hard_rows_are_escalated_and_the_rest_is_right() -> None:
    found = estimate(rows())
    assert (found.early | found.late).mean() == pytest.approx(0.2, abs=0.03)
    assert found.right.mean() > 0.98


def test_where_nothing_would_be_certified_the_heavy_expert_is_all_there_is() -> None:
    given = rows(easy=0.0)
    found = estimate(given, epsilon=0.001, samples=4000)
    assert found.threshold > 1
    assert found.cost.mean() == 1
    assert found.right.tolist() == given.heavy_right.tolist()


def test_another_threshold_moves_cost_and_accuracy() -> None:
    given = rows()
    found = estimate(given)
    lowest, never = found.at(0.0, given), found.at(2.0, given)
    assert not lowest.late.any()
    assert lowest.cost.mean() < found.cost.mean() < never.cost.mean() == 1


def test_rows_that_do_not_fit_together_are_refused() -> None:
    given = rows(10)
    with pytest.raises(InputError, match="choosing rows"):
        estimate(Answers(given.light, given.heavy[:5], given.labels))
