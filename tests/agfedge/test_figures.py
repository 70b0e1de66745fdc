"""Figures as files."""

from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib.figure import Figure

from agfedge.figures import write_figure


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
