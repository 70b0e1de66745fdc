"""The table, the words, the Markdown and the JSON of a search."""

from __future__ import annotations

import json

import pytest

from agfedge.base.statistics import Estimate
from agfedge.study.search.points import point_of
from agfedge.study.search.report import document_of, grounds_of, json_of, markdown_of, reasons_of, table_of, verdict_of
from search_points import done, failed, rejected

POINTS = [
    failed("keep0.1-none", "a | b\nc"),
    rejected("keep0.9-layer1", 0.9),
    done("light-other", 0.6, 0.92, amount="", prior_kind="energy"),
    done("keep0.5-none", 0.55, 0.945),
    done("keep0.25-none", 0.4, 0.94),
    done("keep0.35-none", 0.5, 0.93),
    rejected("keep0.8-none", 0.8),
]


def column(name: str) -> list[str]:
    table = table_of(POINTS)
    return [row[table.headers.index(name)] for row in table.rows]


def test_the_front_comes_first_then_other_points_by_cost_then_what_was_not_measured() -> None:
    assert column("point") == [
        "keep0.25-none *",
        "keep0.5-none *",
        "keep0.35-none",
        "light-other",
        "keep0.8-none",
        "keep0.9-layer1",
        "keep0.1-none",
    ]


def test_a_row_holds_estimates_with_their_intervals() -> None:
    rows = table_of([done("keep0.25-none", 0.4, 0.94)]).rows
    assert rows == [
        (
            "keep0.25-none *",
            "--keep 0.25",
            "none",
            "0.400 (0.390 to 0.410)",
            "94.00 (93.00 to 95.00)",
            "80.00",
            "25.0",
            "1.50",
            "",
        )
    ]


def test_every_row_has_a_cell_for_every_header() -> None:
    table = table_of(POINTS)
    assert {len(row) for row in table.rows} == {len(table.headers)}


def test_a_light_expert_of_another_origin_was_given() -> None:
    assert column("light")[3] == "given"


def test_what_was_not_measured_says_why() -> None:
    assert column("note")[4] == "rejected: a light pass alone costs more than the best"
    assert column("expected cost (95%)")[4] == ""
    assert column("light MMACs")[4] == ""


def test_reasons_can_be_told_apart_from_the_table() -> None:
    rows = table_of(POINTS, reasons=False).rows
    assert [row[-1] for row in rows[4:]] == ["rejected", "rejected", "failed"]
    assert reasons_of(POINTS[:2]) == [
        "keep0.9-layer1 rejected: a light pass alone costs more than the best",
        "keep0.1-none failed: a | b\nc",
    ]


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        ({"threshold": 2.0}, "the heavy expert answers everything"),
        ({"expected": Estimate(1.05, 1.0, 1.1)}, "no cheaper than the heavy expert"),
        ({"prior_kind": "energy"}, "prior energy: 5.0 % early"),
        ({}, ""),
    ],
)
def test_a_note_says_what_is_special(changes: dict, note: str) -> None:
    ((*_, found),) = table_of([done("a", 0.4, 0.94, **changes)]).rows
    assert found == note


def test_the_best_point_is_named_with_its_figures() -> None:
    assert verdict_of(POINTS, 0.005) == (
        "best: keep0.25-none, at 0.400 (0.390 to 0.410) of the heavy expert's cost; it is right on "
        "94.00 (93.00 to 95.00) % of the rows, the heavy expert on 94.00 (92.00 to 95.50) %"
    )


def test_an_interval_that_reaches_the_heavy_expert_is_said() -> None:
    point = done("a", 0.9, 0.94, expected=Estimate(0.9, 0.7, 1.1))
    assert verdict_of([point], 0.005).endswith("; its interval reaches the heavy expert's cost")


def test_without_a_best_point_it_is_said_what_would_help() -> None:
    assert verdict_of([done("a", 0.4, 0.9)], 0.005) == (
        "no cascade is cheaper than the heavy expert at this accuracy (--epsilon 0.005): recover longer (--epochs), "
        "allow a larger --epsilon, or try more widths (--keep)"
    )


def test_where_nothing_was_measured_the_notes_say_why() -> None:
    assert verdict_of([failed("a")], 0.005) == "no candidate was measured: the notes in the table say why"
    assert verdict_of([], 0.005) == "no candidate was measured"
    assert grounds_of([failed("a")]) == ""


def test_it_is_said_which_rows_the_estimates_come_from() -> None:
    assert grounds_of(POINTS) == (
        "estimates: from 400 rows of the calibration split, which choose among the points; the bundle of an accepted "
        "one is certified on the other rows"
    )


def test_the_markdown_holds_the_table_the_words_and_the_picture() -> None:
    text = markdown_of(POINTS, 0.005, "multiply-accumulates", ("one was left out",), "search.svg")
    lines = text.splitlines()
    assert lines[0].startswith("| point | light |")
    assert len([line for line in lines if line.startswith("| ")]) == 1 + len(POINTS)
    assert "* Costs: multiply-accumulates." in lines
    assert "* Warning: one was left out." in lines
    assert any(line.startswith("* Best: keep0.25-none, at 0.400") for line in lines)
    assert any(line.startswith("* Estimates: from 400 rows") for line in lines)
    assert lines[-1] == "![Accuracy against expected cost](search.svg)"


def test_a_bar_or_a_line_break_in_a_reason_does_not_end_a_cell() -> None:
    (line,) = (line for line in markdown_of(POINTS, 0.005, "").splitlines() if line.startswith("| keep0.1-none"))
    assert line.endswith(r"| failed: a \| b c |")


def test_the_markdown_of_nothing_is_still_a_report() -> None:
    assert "* No candidate was measured." in markdown_of([], 0.005, "")


def test_the_json_holds_every_point_the_front_and_the_best() -> None:
    document = json.loads(json_of(POINTS, 0.005, "by macs", ("w",)))
    assert [each["name"] for each in document["points"]] == sorted(point.name for point in POINTS)
    assert document["front"] == ["keep0.25-none", "keep0.5-none"]
    assert document["best"] == "keep0.25-none"
    assert (document["costs"], document["warnings"], document["epsilon"]) == ("by macs", ["w"], 0.005)


def test_a_point_comes_back_from_the_json_as_it_was() -> None:
    points = json.loads(json_of(POINTS, 0.005, ""))["points"]
    assert [point_of(each) for each in points] == sorted(POINTS, key=lambda point: point.name)


def test_the_order_of_the_points_changes_nothing() -> None:
    backwards = list(reversed(POINTS))
    assert json_of(POINTS, 0.005, "") == json_of(backwards, 0.005, "")
    assert markdown_of(POINTS, 0.005, "") == markdown_of(backwards, 0.005, "")


def test_nothing_is_best_in_the_json_of_nothing() -> None:
    assert document_of([], 0.005, "")["best"] is None


def test_json_without_numbers_for_numbers_is_refused() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        json_of([done("a", 0.4, 0.94, seconds=float("nan"))], 0.005, "")
