"""A prior is kept only when it saves on data that did not choose its threshold."""

from __future__ import annotations

import numpy as np
import pytest

from agfedge.router.priors import try_priors
from agfedge_runtime.bundle.layout import Costs


def trial_of(
    prior: np.ndarray, answered: np.ndarray, light_cost: float = 0.5, prior_cost: float = 0.001, seed: int = 0
):
    (trial,) = try_priors({"p": prior.astype(np.float64)}, answered, Costs(light_cost), {"p": prior_cost}, seed)
    return trial


def test_a_prior_that_knows_what_light_cannot_answer_saves_its_light_passes() -> None:
    answered = np.arange(400) % 4 != 0
    trial = trial_of(~answered * 1.0, answered)
    assert trial.saves
    # A quarter is escalated: with the prior, none of them by way of the light expert.
    assert trial.without == pytest.approx(0.5 + 0.25, abs=0.05)
    assert trial.with_prior == pytest.approx(0.001 + 0.75 * 0.5 + 0.25, abs=0.05)


def test_each_half_is_judged_under_the_threshold_that_the_other_chose() -> None:
    # A prior that is right in one half alone, and by a value of its own: what the other half chose does not fit it.
    generator = np.random.default_rng(0)
    answered = generator.uniform(size=400) < 0.6
    one, other = np.array_split(np.random.default_rng(5).permutation(400), 2)
    prior = np.zeros(400)
    prior[one] = ~answered[one] * 1.0
    prior[other] = answered[other] * 1.0
    trial = trial_of(prior, answered, 0.3, 0.02, seed=5)
    assert not trial.saves
    assert trial.without == pytest.approx(0.3 + (~answered).mean())


@pytest.mark.parametrize("seed", range(20))
def test_a_prior_that_knows_nothing_is_not_kept(seed: int) -> None:
    generator = np.random.default_rng(seed)
    answered = generator.uniform(size=600) < 0.8
    assert not trial_of(generator.uniform(size=600), answered, light_cost=0.2, seed=seed).saves


def test_a_prior_that_costs_more_than_it_saves_is_not_kept() -> None:
    answered = np.arange(400) % 4 != 0
    assert not trial_of(~answered * 1.0, answered, light_cost=0.5, prior_cost=0.2).saves


def test_nothing_is_saved_where_light_answers_everything() -> None:
    assert not trial_of(np.linspace(0, 1, 100), np.ones(100, bool)).saves


def test_a_constant_prior_does_no_harm() -> None:
    assert not trial_of(np.zeros(100), np.arange(100) % 2 == 0).saves


def test_each_prior_is_tried_by_itself_and_the_same_seed_tries_alike() -> None:
    generator = np.random.default_rng(0)
    priors = {name: generator.uniform(size=100) for name in ("a", "b")}
    answered = generator.uniform(size=100) < 0.5
    costs = {"a": 0.01, "b": 0.02}
    first, again = (try_priors(priors, answered, Costs(0.5), costs, 3) for _ in range(2))
    assert [trial.kind for trial in first] == ["a", "b"]
    assert first == again


def test_one_sample_is_too_few_to_try_on() -> None:
    assert try_priors({"p": np.ones(1)}, np.ones(1, bool), Costs(0.5), {"p": 0.0}, 0) == []
