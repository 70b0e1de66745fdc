"""Energy of a decision by branch, where the run looked at the device's power."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from agfedge_runtime.state import Energy, energy_by_branch

if TYPE_CHECKING:
    from agfedge_runtime.samples import Samples

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
    )
