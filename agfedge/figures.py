"""Figures as files: the same drawing gives the same bytes."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from agfedge_runtime.atomic import write_bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# What matplotlib would write of its own: a date, and its version.
_METADATA: dict[str, dict[str, str | None]] = {".png": {"Software": None}, ".svg": {"Date": None}}


def write_figure(stem: Path, size: tuple[float, float], draw: Callable[[Figure], None]) -> tuple[Path, ...]:
    """Draws a figure; writes `stem`.png and `stem`.svg, each whole.

    Args:
        stem: of the files; what follows a dot in it stays.
        size: width and height, inches.
        draw: fills the empty figure.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # Without a salt the names of an SVG's elements differ each time.
    with mpl.rc_context({"svg.hashsalt": "agfedge", "font.size": 9}):
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        draw(figure)
        return tuple(_written(figure, stem, suffix) for suffix in _METADATA)


def _written(figure: Figure, stem: Path, suffix: str) -> Path:
    made = io.BytesIO()
    figure.savefig(made, format=suffix[1:], dpi=150, metadata=_METADATA[suffix])
    path = stem.with_name(stem.name + suffix)
    write_bytes(path, made.getvalue())
    return path
