"""Figures as files, and inside pages."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from agfedge.pages.figures import CASCADE, INK, inline_svg, write_figure


def draw(figure: Figure) -> None:
    figure.subplots().plot([0, 1], [1, 0], label="a line")


def test_a_name_with_dots_keeps_them(tmp_path: Path) -> None:
    written = write_figure(tmp_path / "keep0.25", (2, 2), draw)
    assert [path.name for path in written] == ["keep0.25.png", "keep0.25.svg"]


def test_the_same_drawing_gives_the_same_bytes(tmp_path: Path) -> None:
    first, second = (write_figure(tmp_path / name, (2, 2), draw) for name in ("one", "two"))
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_a_drawing_that_fails_leaves_no_files(tmp_path: Path) -> None:
    def broken(figure: Figure) -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        write_figure(tmp_path / "x", (2, 2), broken)
    assert list(tmp_path.iterdir()) == []


def test_a_figure_of_a_page_is_one_element_as_wide_as_its_place() -> None:
    svg = inline_svg("plot", (4, 2), draw)
    head = svg[: svg.index(">")]
    assert svg.startswith("<svg")
    assert svg.endswith("</svg>")
    assert 'viewBox="0 0 288 144"' in head
    assert "width=" not in head
    assert not re.search("<style|<metadata|<[!?]|http", svg)


def test_a_figure_of_a_page_has_text_and_the_colours_of_the_page() -> None:
    def coloured(figure: Figure) -> None:
        panel = figure.subplots()
        panel.plot([0, 1], [1, 0], color=CASCADE)
        panel.set_title("$x^2$ & <b>")

    svg = inline_svg("plot", (2, 2), coloured)
    assert "$x^2$ &amp; &lt;b&gt;</text>" in svg
    assert "stroke: var(--cascade)" in svg
    assert "fill: var(--ink)" in svg
    assert CASCADE not in svg
    assert INK not in svg


def test_figures_of_a_page_share_no_identifier() -> None:
    first, second = (set(re.findall(r'\bid="([^"]+)"', inline_svg(name, (2, 2), draw))) for name in ("a", "b"))
    assert first
    assert not first & second
    assert inline_svg("a", (2, 2), draw) == inline_svg("a", (2, 2), draw)
