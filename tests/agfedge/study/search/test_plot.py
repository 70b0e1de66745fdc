"""The picture of a search: real figures, as files."""

from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib.figure import Figure

from agfedge.study.search.report import _draw, write_plot
from search_points import HEAVY, done, failed, rejected

POINTS = [done("cheap", 0.3, 0.92), done("good", 0.5, 0.94), done("beaten", 0.6, 0.91), rejected("x"), failed("y")]


def drawn(points: list) -> Figure:
    figure = Figure()
    _draw(figure, points)
    return figure


def labels(figure: Figure) -> list[str]:
    return figure.axes[0].get_legend_handles_labels()[1]


def test_a_png_and_an_svg_are_written(tmp_path: Path) -> None:
    png, svg = write_plot(POINTS, tmp_path / "search")
    assert png == tmp_path / "search.png"
    assert png.read_bytes().startswith(b"\x89PNG")
    assert svg == tmp_path / "search.svg"
    assert svg.read_text().count("<svg") == 1


def test_the_same_points_give_the_same_bytes(tmp_path: Path) -> None:
    first, second = (write_plot(POINTS, tmp_path / name) for name in ("one", "two"))
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_the_front_and_the_heavy_expert_are_named_and_the_rest_is_one_entry() -> None:
    points = [*POINTS, done("beaten too", 0.7, 0.9)]
    assert sorted(labels(drawn(points))) == ["cheap", "good", "heavy expert alone", "not on the front"]


def test_the_heavy_expert_stands_at_its_cost_of_one() -> None:
    (star,) = (line for line in drawn(POINTS).axes[0].lines if line.get_label() == "heavy expert alone")
    assert (star.get_xdata()[0], star.get_ydata()[0]) == (1.0, pytest.approx(100 * HEAVY.value))


def test_every_measured_point_has_both_intervals() -> None:
    containers = drawn(POINTS).axes[0].containers
    assert len(containers) == 3
    assert all(each.has_xerr and each.has_yerr for each in containers)


def test_all_intervals_are_in_the_picture() -> None:
    panel = drawn(POINTS).axes[0]
    (left, right), (bottom, top) = panel.get_xlim(), panel.get_ylim()
    for point in POINTS[:3]:
        assert left <= point.expected.low
        assert right >= point.expected.high
        assert bottom <= 100 * point.accuracy.low
        assert top >= 100 * point.accuracy.high


def test_more_points_than_colours_stay_apart() -> None:
    points = [done(f"p{number:02}", 0.1 + number / 30, 0.8 + number / 200) for number in range(12)]
    styles = {(each[0].get_color(), each[0].get_marker()) for each in drawn(points).axes[0].containers}
    assert len(styles) == 12


def test_a_point_without_a_curve_is_drawn(tmp_path: Path) -> None:
    assert labels(drawn([done("a", 0.3, 0.92, curve=())])) == ["heavy expert alone", "a"]


def test_where_nothing_was_measured_the_picture_says_so(tmp_path: Path) -> None:
    _, svg = write_plot([failed("y")], tmp_path / "search")
    assert "nothing was measured" in svg.read_text()
