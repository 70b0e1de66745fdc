"""Latency of single decisions, by branch, as an SVG."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from agfedge_runtime import Branch
from agfedge_runtime.atomic import write_bytes

if TYPE_CHECKING:
    from agfedge_runtime.profile.samples import Samples

_NAMES = {Branch.LIGHT: "light answered", Branch.EARLY: "escalated early", Branch.LATE: "escalated late"}


def write_latency_plot(samples: Samples, path: Path) -> None:
    """Draws histograms of the cascade's latency by branch, and of the heavy expert's; writes the SVG whole."""
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with mpl.rc_context({"svg.hashsalt": "agfedge", "font.size": 9}):
        figure = Figure(figsize=(6.4, 3.6), layout="constrained")
        FigureCanvasSVG(figure)
        panel = figure.subplots()
        highest = float(np.percentile(np.concatenate([samples.cascade_us, samples.heavy_us]), 99.5))
        edges = np.linspace(0, highest, 80).tolist()
        panel.hist(samples.heavy_us, edges, histtype="step", color="0.3", label="heavy alone")
        for branch, name in _NAMES.items():
            times = samples.cascade_us[samples.branches == branch]
            if len(times):
                panel.hist(times, edges, alpha=0.6, label=f"{name} ({len(times) / len(samples):.0%})")
        panel.set_xlabel("latency of a decision, us")
        panel.set_ylabel("decisions")
        panel.legend(frameon=False)
        made = io.BytesIO()
        figure.savefig(made, format="svg", metadata={"Date": None})
    write_bytes(path, made.getvalue())
