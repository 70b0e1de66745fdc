"""The order of inputs: escalations in calibration's proportions, the same for the same seed."""

from __future__ import annotations

import numpy as np
import pytest

from agfedge_runtime import Branch
from agfedge_runtime.bundle.router import Reference
from agfedge_runtime.errors import InputError
from agfedge_runtime.profile.measure import drawn_by_branch, shuffled

# Four light, three early, three late, as golden inputs are chosen.
BRANCHES = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2, 2], np.uint8)


def reference(early: float, late: float) -> Reference:
    return Reference(100, early, late, (0,) * 20)


def shares(order, branches=BRANCHES) -> list[float]:
    return [float((branches[order.index] == branch).mean()) for branch in Branch]


def test_given_inputs_come_once_each_in_another_order():
    order = shuffled(100, 3)
    assert sorted(order.index.tolist()) == list(range(100))
    assert order.index.tolist() != list(range(100))
    assert order.described == "the inputs as given, shuffled by seed 3"


def test_golden_inputs_come_as_often_by_branch_as_in_calibration():
    order = drawn_by_branch(BRANCHES, reference(0.05, 0.15), 0)
    assert shares(order) == pytest.approx([0.8, 0.05, 0.15], abs=0.001)
    assert order.described == (
        "golden inputs drawn by branch as in calibration (80.0% light, 5.0% early, 15.0% late) by seed 0"
    )
    counts = np.bincount(order.index)
    for branch in Branch:
        within = counts[branch == BRANCHES]
        assert within.max() - within.min() <= 1, "inputs of a branch come equally often"


def test_branches_are_mixed_from_the_first_on():
    order = drawn_by_branch(BRANCHES, reference(0.2, 0.2), 0)
    for part in np.split(BRANCHES[order.index], 10):
        assert {0, 1, 2} == set(part.tolist())


def test_a_branch_without_golden_inputs_is_told():
    branches = np.array([0, 0, 2], np.uint8)
    order = drawn_by_branch(branches, reference(0.1, 0.18), 0)
    assert shares(order, branches) == pytest.approx([0.8, 0.0, 0.2], abs=0.001)
    assert "there is none for early" in order.described


@pytest.mark.parametrize(
    ("branches", "rates", "why"),
    [
        (BRANCHES, None, "does not say how often calibration escalated"),
        (np.ones(4, np.uint8), reference(0.0, 0.4), "none goes a way that calibration's went"),
    ],
)
def test_where_proportions_are_not_known_inputs_come_as_they_are_and_that_is_said(branches, rates, why):
    order = drawn_by_branch(branches, rates, 0)
    assert sorted(order.index.tolist()) == list(range(len(branches)))
    assert why in order.described


def test_the_seed_decides():
    first, again, other = (drawn_by_branch(BRANCHES, reference(0.1, 0.1), seed).index.tolist() for seed in (1, 1, 2))
    assert first == again
    assert first != other
    with pytest.raises(InputError, match="--seed is -1: expected 0 or more"):
        shuffled(3, -1)
