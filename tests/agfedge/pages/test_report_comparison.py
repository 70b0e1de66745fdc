"""Profiles side by side: ratios and differences with intervals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from agfedge.reports.numbers import changes_of, comparison_tables, comparison_verdict
from agfedge.reports.runs import MeasuredRun, measured_run
from made_samples import made_samples


def test_a_machine_of_half_the_speed_has_a_ratio_of_two(profile: MeasuredRun, slower: MeasuredRun) -> None:
    change = next(
        each for each in changes_of([profile, slower]) if (each.section, each.name) == ("latency", "heavy alone: mean")
    )
    assert (change.kind, change.profile) == ("ratio", "after")
    assert change.value == pytest.approx(2.0, rel=0.01)
    assert change.low is not None
    assert change.high is not None
    assert change.low < 2.0 < change.high


@pytest.mark.slow
def test_the_interval_of_a_ratio_holds_it_as_often_as_it_says() -> None:
    held = 0
    for seed in range(40):
        runs = [
            measured_run(str(number), made_samples(200, early=0, late=0, noise=0.1, seed=2 * seed + number))
            for number in range(2)
        ]
        change = next(each for each in changes_of(runs) if each.name == "heavy alone: mean")
        held += (change.low or 0) <= 1 <= (change.high or 0)
    assert 34 <= held <= 40


def test_shares_are_told_by_their_difference_with_newcombes_interval() -> None:
    """Newcombe (1998), table II, example (a), 56/70 against 48/80: 0.0524 to 0.3339."""
    runs = []
    for name, late, count in (("b", 48, 80), ("a", 56, 70)):
        run = made_samples(count, early=0)
        runs.append(measured_run(name, replace(run, branches=np.where(np.arange(count) < late, 2, 1).astype(np.uint8))))
    change = next(each for each in changes_of(runs) if (each.section, each.name) == ("escalation", "late"))
    assert change.kind == "difference"
    assert (change.value, change.low, change.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=1e-4)


def test_the_sentence_says_what_may_be_noise(profile: MeasuredRun, slower: MeasuredRun) -> None:
    assert "may be noise" in comparison_verdict([profile, replace(profile, name="again")])
    assert "may be noise" not in comparison_verdict([profile, slower])
    assert "in before; after takes 1.8" in comparison_verdict([profile, slower])


def test_tables_have_a_column_a_profile_and_what_changed(profile: MeasuredRun, slower: MeasuredRun) -> None:
    tables = comparison_tables([profile, slower, replace(profile, name="third")])
    assert tables[0].headers == ("", "before", "after", "against before", "third", "against before")
    assert {len(row) for table in tables for row in table.rows} == {6}
    titles = [table.title for table in tables]
    assert titles[0] == "Latency"
    assert {"Accuracy", "Escalation", "Energy", "At a fixed rate", "Several inputs a call"} <= set(titles)


def test_what_one_of_two_did_not_measure_stays_empty(profile: MeasuredRun, slower: MeasuredRun) -> None:
    energy = next(table for table in comparison_tables([profile, slower]) if table.title == "Energy")
    assert all(row[2:] == ("", "") for row in energy.rows)
