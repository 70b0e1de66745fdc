"""Means, intervals and claims over the points of a comparison."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import t

from agfedge.study.compare import HEAVY, ComparePoint, claims_of, json_of, markdown_of, rows_of, sentence, table_of


def point(score: str, one_shot: float, seed: int = 0, keep: float = 0.25, samples: int = 10_000) -> ComparePoint:
    return ComparePoint(score, keep, seed, samples, 1_000_000, 2_000, one_shot)


def test_a_row_averages_over_seeds() -> None:
    (row,) = rows_of([point("agf", 0.5, 0), point("agf", 0.6, 1), point("agf", 0.7, 2)])
    assert row.one_shot is not None
    assert row.one_shot.value == pytest.approx(0.6)
    assert row.one_shot.seeds == 3


def test_an_interval_holds_what_seeds_and_test_images_add() -> None:
    (row,) = rows_of([point("agf", 0.5, 0), point("agf", 0.6, 1), point("agf", 0.7, 2)])
    seeds, images = 0.1**2 / 3, 0.6 * 0.4 / 10_000
    freedom = (seeds + images) ** 2 / (seeds**2 / 2)
    half = t.ppf(0.975, freedom) * math.sqrt(seeds + images)
    assert row.one_shot is not None
    assert row.one_shot.high - row.one_shot.value == pytest.approx(half)
    assert row.one_shot.value - row.one_shot.low == pytest.approx(half)


def test_without_a_spread_over_seeds_the_test_images_alone_count() -> None:
    (row,) = rows_of([point("l1", 0.8, seed) for seed in range(3)])
    assert row.one_shot is not None
    assert row.one_shot.high - 0.8 == pytest.approx(1.959964 * math.sqrt(0.8 * 0.2 / 10_000), rel=1e-5)


def test_an_accuracy_of_all_or_nothing_still_has_an_interval() -> None:
    (row,) = rows_of([point("l1", 1.0, samples=100)])
    assert row.one_shot is not None
    assert row.one_shot.low < 1.0
    assert row.one_shot.high == 1.0


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        truth = 0.7
        drift = generator.normal(0, 0.004)  # of the test split, which all seeds share
        accuracies = truth + drift + generator.normal(0, 0.01, 3)
        (row,) = rows_of([point("agf", float(each), seed, samples=13_125) for seed, each in enumerate(accuracies)])
        assert row.one_shot is not None
        covered += row.one_shot.low <= truth <= row.one_shot.high
    assert covered / 400 > 0.92


def test_widest_rows_come_first() -> None:
    rows = rows_of([point("agf", 0.1, keep=0.125), point(HEAVY, 0.9, keep=1.0), point("agf", 0.5, keep=0.5)])
    assert [row.keep for row in rows] == [1.0, 0.5, 0.125]


def test_a_clear_difference_is_claimed() -> None:
    rows = rows_of([point(score, value, seed) for score, value in (("agf", 0.5), ("l1", 0.4)) for seed in (0, 1)])
    (claim,) = claims_of(rows, "agf")
    assert (claim.better, claim.worse, claim.stage) == ("agf", "l1", "one_shot")
    assert claim.low < claim.difference < claim.high
    assert claim.difference == pytest.approx(0.1)


def test_the_worse_score_is_named_as_such() -> None:
    rows = rows_of([point("agf", 0.4), point("l1", 0.5)])
    assert sentence(claims_of(rows, "agf")[0]).startswith(
        "l1 is better than agf at width 0.25, one-shot: by 10.00 points"
    )


def test_a_difference_within_the_spread_of_seeds_is_not_claimed() -> None:
    values = {"agf": (0.50, 0.56, 0.62), "l1": (0.48, 0.55, 0.60)}
    points = [point(score, value, seed) for score, found in values.items() for seed, value in enumerate(found)]
    assert claims_of(rows_of(points), "agf") == []


def test_widths_are_not_compared_with_each_other() -> None:
    assert claims_of(rows_of([point("agf", 0.9, keep=0.5), point("l1", 0.1, keep=0.25)]), "agf") == []


def test_what_was_not_measured_is_left_empty() -> None:
    ((*_, one_shot, reestimated, recovered),) = table_of(rows_of([point("agf", 0.5)])).rows
    assert one_shot.startswith("50.00 (")
    assert (reestimated, recovered) == ("", "")


def test_the_reports_hold_every_point_and_say_when_there_is_nothing_to_claim() -> None:
    points = [point("agf", 0.5), point("random", 0.5)]
    rows = rows_of(points)
    assert json_of(points, rows, []).count('"seed": 0') == 2
    text = markdown_of(rows, claims_of(rows, "agf"))
    assert "| agf | 0.25 |" in text
    assert "* none." in text
