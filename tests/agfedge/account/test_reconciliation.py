"""Measured minus expected, split: the terms add up, and each finds what it is named for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agfedge.account.costs import passes_of
from agfedge.account.reconciliation import Reconciliation, reconcile
from agfedge_profiles import Rates
from agfedge_runtime import Branch
from agfedge_runtime.profile.samples import Samples
from made_samples import made_manifest, made_samples

pytestmark = pytest.mark.slow


def terms(found: Reconciliation) -> dict[str, float]:
    return {term.name: term.us for term in found.terms}


share = st.floats(0, 0.5)
time = st.floats(0.1, 1e6)


@settings(deadline=None, max_examples=60)
@given(
    count=st.integers(1, 80), early=share, late=share, promised_early=share, promised_late=share, prior=time,
    light=time, heavy=time, trunk=st.one_of(st.just(0.0), time), overhead=time, slower=st.floats(0.1, 10),
    noise=st.floats(0, 0.4), seed=st.integers(0, 1000), copies=st.booleans(),
)  # fmt: skip
def test_expected_and_the_terms_add_up_to_the_measured_mean(
    count: int, early: float, late: float, promised_early: float, promised_late: float, prior: float, light: float,
    heavy: float, trunk: float, overhead: float, slower: float, noise: float, seed: int, copies: bool,
) -> None:  # fmt: skip
    samples = made_samples(
        count, early=early, late=late, prior_us=prior, light_us=light, heavy_us=heavy, trunk_us=trunk,
        overhead_us=overhead, slower_inside=slower, noise=noise, seed=seed,
    )  # fmt: skip
    samples = with_copies(samples) if copies else samples
    found = reconcile(samples, made_manifest(promised_early, promised_late))
    total = found.expected_us + sum(term.us for term in found.terms)
    assert total == pytest.approx(found.measured_us, rel=1e-6, abs=1e-6 * (light + heavy + trunk + prior))
    assert found.measured_us == samples.cascade_us.mean()


def with_copies(samples: Samples, way_in: float = 3.0, way_out: float = 1.0) -> Samples:
    """The input is moved once a decision, for the first stage that runs."""
    light = samples.branches != Branch.EARLY
    heavy = samples.branches != Branch.LIGHT
    first = "prior" if "prior" in samples.stage_us else "light"
    ran = {"prior": np.full(len(samples), first == "prior"), "light": light, "heavy": heavy}
    parts = {}
    for name, took in ran.items():
        parts[f"{name}.copy_in"] = np.where(took, way_in if name == first else 0.0, np.nan)
        parts[f"{name}.copy_out"] = np.where(took, way_out, np.nan)
    return replace(samples, device_us=parts)


def test_expected_recomputes_from_the_raw_samples_by_hand() -> None:
    samples = made_samples()
    found = reconcile(samples, made_manifest(0.1, 0.2))
    prior, light, heavy = samples.prior_us.mean(), samples.light_us.mean(), samples.heavy_us.mean()
    assert found.expected_us == pytest.approx(prior + 0.9 * light + 0.3 * heavy)
    again = Samples.from_json(samples.to_json())
    assert reconcile(again, made_manifest(0.1, 0.2)) == found


def test_a_run_as_promised_leaves_the_overhead_alone() -> None:
    samples = made_samples(4000, noise=0.01)
    rates = passes_of(samples).rates
    found = terms(reconcile(samples, made_manifest(rates.early, rates.late)))
    assert found["rate"] == pytest.approx(0, abs=1e-9)
    assert found["decision overhead"] == pytest.approx(5, rel=0.01)
    for name in ("light", "heavy", "prior"):
        assert abs(found[name]) < 0.2, name
    assert found["transfers"] == 0


def test_more_escalations_than_promised_are_the_rates_term() -> None:
    samples = made_samples(4000, early=0.05, late=0.25, noise=0.0)
    found = reconcile(samples, made_manifest(0.05, 0.15))
    rates = found.rates
    by_hand = -(rates.early - 0.05) * 40 + (rates.heavy - 0.20) * 200
    assert terms(found)["rate"] == pytest.approx(by_hand)
    assert "the largest term is rate" in found.explanation
    (rate,) = (term for term in found.terms if term.name == "rate")
    assert rate.low_us < rate.us < rate.high_us


def test_experts_that_take_longer_within_the_cascade_are_their_own_terms() -> None:
    samples = made_samples(4000, slower_inside=1.5, noise=0.01)
    found = terms(reconcile(samples, made_manifest()))
    rates = passes_of(samples).rates
    assert found["light"] == pytest.approx(0.5 * 40 * (1 - rates.early), rel=0.02)
    assert found["heavy"] == pytest.approx(0.5 * 200 * rates.heavy, rel=0.02)


def test_a_trunk_is_compared_with_the_prior_that_comes_along() -> None:
    found = terms(reconcile(made_samples(4000, trunk_us=80.0, noise=0.01), made_manifest()))
    assert abs(found["trunk"]) < 0.2
    assert "prior" not in found


def test_an_input_that_is_moved_once_saves_what_each_pass_alone_moves() -> None:
    plain, told = made_samples(noise=0.0), with_copies(made_samples(noise=0.0))
    before, after = (terms(reconcile(each, made_manifest())) for each in (plain, told))
    rates = passes_of(told).rates
    passes = 1 + (1 - rates.early) + rates.heavy  # prior, light, heavy
    assert before["transfers"] == 0
    assert after["transfers"] == pytest.approx(-3.0 * (passes - 1))
    assert after["light"] == pytest.approx(before["light"] + 3.0 * (1 - rates.early))
    assert after["heavy"] == pytest.approx(before["heavy"] + 3.0 * rates.heavy)


def test_every_term_names_its_series_and_what_it_is() -> None:
    samples = made_samples()
    for term in reconcile(samples, made_manifest()).terms:
        assert term.about
        assert term.samples or term.name == "transfers"
        for name in term.samples:
            series, _, key = name.partition(".")
            found = getattr(samples, series)
            assert not key or key in found


def test_without_recorded_stages_nothing_is_split() -> None:
    assert reconcile(replace(made_samples(), stage_us={}), made_manifest()) is None


def test_a_bundle_that_does_not_say_its_rates_promises_those_of_the_run() -> None:
    found = reconcile(made_samples(), made_manifest(reference=False))
    assert found.promised == found.rates
    assert terms(found)["rate"] == pytest.approx(0, abs=1e-9)


def test_a_router_that_never_asks_the_light_expert_promises_the_heavy_one_alone() -> None:
    found = reconcile(made_samples(), made_manifest(threshold=1.5))
    assert found.promised == Rates(1.0, 0.0)


def test_what_the_bundles_own_costs_promise_stands_beside() -> None:
    samples = made_samples(noise=0.0)
    found = reconcile(samples, made_manifest(0.05, 0.15))
    assert found.promised_us == pytest.approx(200 * (0.001 + 0.95 * 0.2 + 0.2))
    assert found.promised_unit == "macs"
