"""The front of cost and accuracy, and the best point."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from agfedge.study.search.points import best, front
from search_points import HEAVY, done, failed, rejected

PAIRS = st.lists(st.tuples(st.sampled_from([0.2, 0.4, 0.6, 1.0, 1.2]), st.sampled_from([0.8, 0.9, 0.94, 0.96])))


def names(points: tuple) -> list[str]:
    return [point.name for point in points]


def test_the_front_comes_cheapest_first() -> None:
    points = [done("c", 0.7, 0.94), done("a", 0.3, 0.92), done("b", 0.5, 0.93)]
    assert names(front(points)) == ["a", "b", "c"]


def test_a_point_that_costs_more_and_is_right_less_often_is_beaten() -> None:
    assert names(front([done("good", 0.3, 0.93), done("bad", 0.5, 0.92)])) == ["good"]


def test_of_two_at_the_same_cost_the_more_accurate_stays() -> None:
    assert names(front([done("worse", 0.3, 0.92), done("better", 0.3, 0.93)])) == ["better"]


def test_points_that_are_equal_both_stay() -> None:
    assert names(front([done("b", 0.3, 0.93), done("a", 0.3, 0.93)])) == ["a", "b"]


def test_what_was_not_measured_is_not_on_it() -> None:
    assert front([rejected("x"), failed("y")]) == ()


def test_the_heavy_expert_alone_beats_what_is_no_cheaper_and_no_better() -> None:
    assert front([done("never", 1.0, HEAVY.value, threshold=2.0), done("dear", 1.1, 0.9)]) == ()


def test_what_is_dearer_and_better_than_the_heavy_expert_stays() -> None:
    assert names(front([done("careful", 1.1, 0.96)])) == ["careful"]


@given(PAIRS)
def test_no_point_of_the_front_is_beaten_and_every_other_one_is(pairs: list[tuple[float, float]]) -> None:
    points = [done(f"p{number}", *pair) for number, pair in enumerate(pairs)]
    ahead = {point.name for point in front(points)}

    def beaten(cost: float, accuracy: float) -> bool:
        others = [each for each in pairs if each != (cost, accuracy)]
        return (cost >= 1 and accuracy <= HEAVY.value) or any(c <= cost and a >= accuracy for c, a in others)

    assert ahead == {f"p{number}" for number, pair in enumerate(pairs) if not beaten(*pair)}


def test_the_best_is_the_cheapest_that_is_accurate_enough() -> None:
    found = best([done("a", 0.5, 0.94), done("b", 0.4, 0.936), done("c", 0.2, 0.92)], epsilon=0.005)
    assert found is not None
    assert found.name == "b"


def test_a_loss_of_just_epsilon_is_allowed() -> None:
    assert best([done("a", 0.5, HEAVY.value - 0.005)], epsilon=0.005) is not None


def test_of_two_at_the_same_cost_the_more_accurate_is_best() -> None:
    found = best([done("a", 0.5, 0.94), done("b", 0.5, 0.95)], epsilon=0.005)
    assert found is not None
    assert found.name == "b"


def test_nothing_is_best_where_the_heavy_expert_answers_everything() -> None:
    assert best([done("a", 0.9, 0.94, threshold=2.0)], epsilon=0.005) is None


def test_nothing_is_best_that_costs_as_much_as_the_heavy_expert() -> None:
    assert best([done("a", 1.0, 0.94), done("b", math.nextafter(1, 2), 0.94), rejected("c")], epsilon=0.005) is None
