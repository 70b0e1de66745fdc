"""Predicts what a graph takes on a device: from data sheets and stated guesses, or from a table of measured layers.

A kernel takes launch_us + max(operations / (compute_share * peak), bytes / (bandwidth_share * bandwidth)): the roofline
of Williams et al. (doi:10.1145/1498765.1498785) with a constant before each kernel, which is what bounds small layers.
What it leaves out: caches, how well a shape fits the tensor cores (multiples of 8 or 16 do best), tactics, copies
between host and device, clocks that fall. It is meant for ranking plans on one device, not for promising milliseconds.

With a table of layers that were measured there (`agfedge_profiles.table`) the table counts, and the model fills its
gaps: see `CostModel`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agfedge_profiles.device import load_device
from agfedge_profiles.table import LatencyTable, read_table
from agfedge_runtime.errors import InputError

if TYPE_CHECKING:
    from agfedge_profiles.device import DeviceProfile

_BYTES = {"fp16": 2, "int8": 1}
TABLE_SUFFIX = ".json"


@dataclass(frozen=True)
class Kernel:
    """What one launch computes and moves.

    Attributes:
        macs: multiply-accumulates.
        elements: numbers read and written: inputs, parameters and outputs; their bytes follow from the precision.
        kind: its operator and shapes without channels, such as ``Conv 3x3 stride 1 of 16x16``; a table's layers are
            looked up by it.
    """

    macs: float
    elements: float
    kind: str = ""

    @property
    def size(self) -> float:
        """What tells kernels of one kind apart: its MACs, which go with the channels in and out; else its elements."""
        return self.macs or self.elements


@dataclass(frozen=True)
class Roofline:
    """What bounds a kernel.

    Attributes:
        launch_us: before it computes anything.
        macs_per_us: multiply-accumulates at most.
        elements_per_us: numbers read and written at most.
    """

    launch_us: float
    macs_per_us: float
    elements_per_us: float

    def kernel_us(self, kernel: Kernel) -> float:
        """Returns launch_us + max(compute, memory)."""
        return self.launch_us + max(kernel.macs / self.macs_per_us, kernel.elements / self.elements_per_us)


def roofline_of(device: DeviceProfile, precision: str = "fp16") -> Roofline:
    """Returns what a device profile and its guesses say.

    Raises:
        InputError: no peak is known for the precision.
    """
    if precision not in _BYTES:
        raise InputError(f"no peak is known for precision {precision!r}: expected one of {', '.join(_BYTES)}")
    peak, assumed = device.peak, device.assumed
    tera = peak.fp16_tflops if precision == "fp16" else peak.int8_tops
    return Roofline(
        launch_us=assumed.launch_us,
        macs_per_us=assumed.compute_share * tera * 1e6 / 2,
        elements_per_us=assumed.bandwidth_share * peak.bandwidth_gb_s * 1e3 / _BYTES[precision],
    )


@dataclass(frozen=True)
class CostModel:
    """A device's latency, by its profile and, where there is one, by a table of what was measured there.

    Of a kernel that the table has (its kind and size), the measured time is taken. Between two sizes of a kind, that
    is between measured channel counts, the time is interpolated, linearly in the size. Beyond them it is the model's,
    times what the table's nearest size took over what the model says of that. Of a kind that the table does not have
    it is the model's, times the table's `scale`. Each run costs the table's `run_us` besides.

    Attributes:
        device: the profile, in a power mode.
        table: what was measured, or None.
    """

    device: DeviceProfile
    table: LatencyTable | None = None

    @property
    def name(self) -> str:
        """Profile and power mode, for people, and whether a table was used."""
        by = "" if self.table is None else " by a table of measured layers"
        return f"{self.device.name}:{self.device.mode}{by}"

    @property
    def default_precision(self) -> str:
        """The table's, else fp16."""
        return "fp16" if self.table is None else self.table.precision

    def check_precision(self, precision: str) -> None:
        """Refuses a precision of which nothing is known.

        Raises:
            InputError: the table is of another precision, or the profile has no peak for it.
        """
        if self.table is None:
            roofline_of(self.device, precision)
        elif precision != self.table.precision:
            raise InputError(
                f"the table of {self.table.backend} {self.table.backend_version} is of {self.table.precision}, asked "
                f"for {precision}: measure that with `agfedge profile --save-table`, or leave out --precision"
            )

    def latency_us(self, kernels: Iterable[Kernel], precision: str = "fp16") -> float:
        """Returns the predicted microseconds of kernels that run one after another.

        Raises:
            InputError: as `check_precision`.
        """
        self.check_precision(precision)
        table = self.table
        if table is None:
            roofline = roofline_of(self.device, precision)
            return sum(roofline.kernel_us(each) for each in kernels)
        roofline = roofline_of(self.device, model_precision(precision))
        return table.run_us + sum(_measured_us(table, roofline, each) for each in kernels)


def model_precision(precision: str) -> str:
    """Returns the precision whose peaks stand in for one that profiles do not have: a table's scale corrects it."""
    return precision if precision in _BYTES else "fp16"


def load_cost_model(name: str) -> CostModel:
    """Reads what predicts a device's latency.

    Args:
        name: a device profile as `load_device` takes it, or the path of a table (.json).

    Raises:
        InputError: there is no such profile, or the file is no table.
    """
    if not name.endswith(TABLE_SUFFIX):
        return CostModel(load_device(name))
    table = read_table(name)
    return CostModel(load_device(table.device), table)


def _measured_us(table: LatencyTable, roofline: Roofline, kernel: Kernel) -> float:
    points = table.points.get(kernel.kind, ())
    size, model = kernel.size, roofline.kernel_us(kernel)
    if not points:
        return model * table.scale
    below = [point for point in points if point.size <= size]
    above = [point for point in points if point.size >= size]
    if below and above:
        left, right = below[-1], above[0]
        if right.size == left.size:
            return left.us
        return left.us + (right.us - left.us) * (size - left.size) / (right.size - left.size)
    nearest = below[-1] if below else above[0]
    return model * nearest.us / roofline.kernel_us(Kernel(nearest.macs, nearest.elements))
