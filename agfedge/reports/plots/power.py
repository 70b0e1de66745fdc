"""Power, temperature and clocks over time, as the device told them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agfedge.pages.figures import FAINT, inline_svg
from agfedge.pages.html import figure
from agfedge.pages.style import WIDTH, legend_below, legend_height, short, style_of
from agfedge_runtime.state.series import column

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from agfedge.reports.profile import Profile

_COLUMNS = {
    "total_w": "power, W",
    "temperature_c": "temperature, °C",
    "gpu_mhz": "GPU clock, MHz",
    "emc_mhz": "memory clock, MHz",
}


def power(profiles: Sequence[Profile]) -> str | None:
    """Returns the figure; None where no profile has a series of any of them.

    Raises:
        InputError: the series of the samples are malformed.
    """
    shown = [name for name in _COLUMNS if any(_has(profile, name) for profile in profiles)]
    if not shown:
        return None

    def draw(canvas: Figure) -> None:
        panels = canvas.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
        for panel, name in zip(panels, shown, strict=True):
            for number, profile in enumerate(profiles):
                if _has(profile, name):
                    style = style_of(number)
                    times, values = _column(profile, "t_s"), _column(profile, name)
                    panel.plot(
                        times,
                        values,
                        color=style.colour,
                        linestyle=style.line,
                        linewidth=1.2,
                        label=short(profile.name),
                    )
            panel.set_title(_COLUMNS[name])
            panel.margins(y=0.15)
            panel.locator_params(axis="y", nbins=4)
            panel.grid(axis="y")
            if len(profiles) == 1:
                panel.axvspan(0, _end(profiles[0]), color=FAINT, alpha=0.12, linewidth=0)
        panels[-1].set_xlabel("seconds from the first decision")
        if len(profiles) > 1:
            legend_below(canvas, panels[0])

    height = (
        0.5 + 1.0 * len(shown) + (legend_height([short(each.name) for each in profiles]) if len(profiles) > 1 else 0)
    )
    told = "; ".join(
        f"{_COLUMNS[name]}{f' of {profile.name}' if len(profiles) > 1 else ''}: {_range(profile, name)}"
        for name in shown
        for profile in profiles
        if _has(profile, name)
    )
    caption = "The shaded time is the run; before it the device warmed up." if len(profiles) == 1 else ""
    return figure(inline_svg("power", (WIDTH, height), draw), f"The device over time. {told}.", caption)


def has_power(profile: Profile) -> bool:
    """Returns whether watts were recorded during the run."""
    return _has(profile, "total_w")


def _column(profile: Profile, name: str) -> NDArray[np.float64]:
    series = (profile.samples.state or {}).get("series")
    if not isinstance(series, dict) or name not in series:
        return np.empty(0)
    return column(series, name)


def _has(profile: Profile, name: str) -> bool:
    return bool(np.isfinite(_column(profile, name)).any())


def _range(profile: Profile, name: str) -> str:
    values = _column(profile, name)
    return f"{np.nanmin(values):,.1f} to {np.nanmax(values):,.1f}"


def _end(profile: Profile) -> float:
    samples = profile.samples
    return float(samples.start_s[-1] + samples.cascade_us[-1] / 1e6)
