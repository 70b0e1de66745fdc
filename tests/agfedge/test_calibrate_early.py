"""A prior is kept only when it saves on data that did not choose its threshold."""

from __future__ import annotations

import numpy as np
import pytest

from agfedge.calibrate.early import try_priors


def trial_of(
    prior: np.ndarray, answered: np.ndarray, light_cost: float = 0.5, prior_cost: float = 0.001, seed: int = 0
):
    (trial,) = try_priors({"p": prior.astype(np.float64)}, answered, light_cost, {"p": prior_cost}, seed)
    return trial


def test_a_prior_that_knows_what_light_cannot_answer_saves_its_light_passes() -> None:
    answered = np.arange(400) % 4 != 0
    trial = trial_of(~answered * 1.0, answered)
    assert trial.saves
    # A quarter is escalated: with the prior, none of them by way of the light expert.
    assert trial.without == pytest.approx(0.5 + 0.25, abs=0.05)
    assert trial.with_prior == pytest.approx(0.001 + 0.75 * 0.5 + 0.25, abs=0.05)


def test_the_trial_is_the_expected_cost_on_the_half_that_did_not_choose() -> None:
    generator = np.random.default_rng(0)
    answered = generator.uniform(size=300) < 0.6
    prior = ~answered + generator.normal(0, 0.7, 300)
    trial = trial_of(prior, answered, 0.3, 0.02, seed=5)
    judge = np.random.default_rng(5).permutation(300)[150:]
    early = prior[judge] > trial.threshold
    late = ~early & ~answered[judge]
    assert trial.with_prior == pytest.approx(0.02 + (1 - early.mean()) * 0.3 + early.mean() + late.mean())
    assert trial.without == pytest.approx(0.3 + (~answered[judge]).mean())


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
    first, again = (try_priors(priors, answered, 0.5, costs, 3) for _ in range(2))
    assert [trial.kind for trial in first] == ["a", "b"]
    assert first == again


def test_one_sample_is_too_few_to_try_on() -> None:
    assert try_priors({"p": np.ones(1)}, np.ones(1, bool), 0.5, {"p": 0.0}, 0) == []
