"""Energy of a decision by branch, where the run looked at the device's power."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from agfedge_runtime.state import Energy, energy_by_branch

if TYPE_CHECKING:
    from agfedge_runtime.profile.samples import Samples

__all__ = ["Energy", "energy_of"]


def energy_of(samples: Samples) -> Energy | None:
    """Returns the energies, each with its reason where it was not measured; None where nobody looked at the power.

    Raises:
        InputError: the state's series are malformed.
    """
    state = samples.state or {}
    series, idle = state.get("series"), state.get("idle")
    if not isinstance(series, Mapping):
        return None
    watts, error = (idle.get(key) if isinstance(idle, Mapping) else None for key in ("watts", "error_w"))
    return energy_by_branch(
        samples.start_s,
        samples.cascade_us,
        samples.branches,
        series,
        float(watts) if isinstance(watts, (int, float)) else None,
        idle_error_w=float(error) if isinstance(error, (int, float)) else 0.0,
        busy_share=_busy_share(samples),
    )


def _busy_share(samples: Samples) -> float:
    """The share of the run in which something was computed: between its timed parts nothing is."""
    parts = (samples.cascade_us, samples.heavy_us, samples.light_us, samples.prior_us, samples.trunk_us)
    each_us = sum(np.nan_to_num(part) for part in parts)
    # A row begins with any of its parts; the run, so taken, lacks no more than one of them.
    run_us = 1e6 * float(samples.start_s[-1] - samples.start_s[0]) + float(np.mean(each_us))
    return min(1.0, float(np.sum(each_us)) / run_us)
