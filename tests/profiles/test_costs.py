"""Three estimates of what a cascade costs, by the numbers of the paper and by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agfedge_profiles import Rates, expected, mixture, mixture_to_expected, sequential
from agfedge_runtime.bundle.layout import Costs

share = st.floats(0, 1)


def test_the_papers_estimate_charges_light_only_for_what_it_keeps() -> None:
    # Qian et al., arXiv:2603.12354: 48.5% heavy, light at 0.85 of heavy's cost: "estimated cost" 0.92.
    assert mixture(Rates(0, 0.485), Costs(0.85)) == pytest.approx(0.485 + 0.515 * 0.85)
    assert round(mixture(Rates(0, 0.485), Costs(0.85)), 2) == 0.92


def test_light_first_for_every_input_costs_more_than_always_heavy() -> None:
    assert sequential(Rates(0, 0.485), Costs(0.85)) == pytest.approx(1.34, abs=0.006)
    assert sequential(Rates(0, 0.485), Costs(0.85)) == pytest.approx(0.85 + 0.485)


def test_light_first_breaks_even_where_light_costs_what_heavy_saves() -> None:
    assert sequential(Rates(0, 0.3), Costs(0.7)) == pytest.approx(1)


def test_expected_charges_prior_light_heavy_and_overhead_by_hand() -> None:
    found = expected(Rates(early=0.2, late=0.1), Costs(light=0.4, prior=0.01, overhead=0.03))
    assert found == pytest.approx(0.01 + 0.8 * 0.4 + 0.3 + 0.03)


def test_expected_is_sequential_where_nothing_escalates_early_and_nothing_else_costs() -> None:
    assert expected(Rates(0, 0.3), Costs(0.4)) == pytest.approx(sequential(Rates(0, 0.3), Costs(0.4)))


def test_a_shared_trunk_is_paid_once_by_every_input() -> None:
    costs = Costs(light=0.1, prior=0.01, overhead=0.03, trunk=0.3, heavy=0.7)
    assert expected(Rates(early=0.2, late=0.1), costs) == pytest.approx(0.3 + 0.01 + 0.8 * 0.1 + 0.3 * 0.7 + 0.03)
    assert sequential(Rates(0.2, 0.1), costs) == pytest.approx(0.3 + 0.1 + 0.3 * 0.7)
    assert mixture(Rates(0.2, 0.1), costs) == pytest.approx(0.3 * (0.3 + 0.7) + 0.7 * (0.3 + 0.1))


@given(early=share, late=share, light=share, trunk=share)
def test_sharing_a_trunk_saves_it_for_every_late_escalation(
    early: float, late: float, light: float, trunk: float
) -> None:
    rates, light = Rates(early, late * (1 - early)), light * (1 - trunk)
    shared = expected(rates, Costs(light, trunk=trunk, heavy=1 - trunk))
    assert expected(rates, Costs(trunk + light)) - shared == pytest.approx(rates.late * trunk, abs=1e-9)


@given(early=share, late=share, light=share, prior=share, overhead=share, trunk=share)
def test_the_terms_add_up_to_what_mixture_leaves_out(
    early: float, late: float, light: float, prior: float, overhead: float, trunk: float
) -> None:
    rates, costs = Rates(early, late * (1 - early)), Costs(light, prior, overhead, trunk, 1 - trunk)
    gap = expected(rates, costs) - mixture(rates, costs)
    assert sum(mixture_to_expected(rates, costs).values()) == pytest.approx(gap, abs=1e-9)


@given(early=share, late=share, light=share)
def test_an_early_escalation_never_costs_more_than_a_late_one(early: float, late: float, light: float) -> None:
    late = late * (1 - early)
    assert expected(Rates(early, late), Costs(light)) <= expected(Rates(0, early + late), Costs(light)) + 1e-9
