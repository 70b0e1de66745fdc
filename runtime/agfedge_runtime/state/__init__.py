"""The device's state around a measurement: power mode, clocks, temperatures, throttling, over-current, power.

Everything is read from files that need no root where there are such files; what a machine does not tell stays None.
Where the paths, names and units come from is said beside them, and in docs/reference/device-state.md.
"""

from agfedge_runtime.state.energy import BranchEnergy, Energy, IdlePower, energy_by_branch, measure_idle
from agfedge_runtime.state.locking import locked_clocks
from agfedge_runtime.state.reading import DeviceState, read_state
from agfedge_runtime.state.sampler import StateSampler
from agfedge_runtime.state.validity import validity

__all__ = [
    "BranchEnergy",
    "DeviceState",
    "Energy",
    "IdlePower",
    "StateSampler",
    "energy_by_branch",
    "locked_clocks",
    "measure_idle",
    "read_state",
    "validity",
]
