"""Predicts what a graph takes on a device, from data sheets and stated guesses; measured tables are to replace it.

A kernel takes launch_us + max(operations / (compute_share * peak), bytes / (bandwidth_share * bandwidth)): the roofline
of Williams et al. (doi:10.1145/1498765.1498785) with a constant before each kernel, which is what bounds small layers.
What it leaves out: caches, how well a shape fits the tensor cores (multiples of 8 or 16 do best), tactics, copies
between host and device, clocks that fall. It is meant for ranking plans on one device, not for promising milliseconds.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agfedge_runtime.errors import InputError

if TYPE_CHECKING:
    from agfedge_profiles.device import DeviceProfile

_BYTES = {"fp16": 2, "int8": 1}


@dataclass(frozen=True)
class Kernel:
    """What one launch computes and moves.

    Attributes:
        macs: multiply-accumulates.
        elements: numbers read and written: inputs, parameters and outputs; their bytes follow from the precision.
    """

    macs: float
    elements: float


def latency_us(kernels: Iterable[Kernel], device: DeviceProfile, precision: str = "fp16") -> float:
    """Returns the predicted microseconds of kernels that run one after another.

    Args:
        kernels: of one inference.
        device: a module in a power mode.
        precision: "fp16" or "int8", of parameters and feature maps alike.

    Raises:
        InputError: another precision.
    """
    if precision not in _BYTES:
        raise InputError(f"no peak is known for precision {precision!r}: expected one of {', '.join(_BYTES)}")
    peak, assumed = device.peak, device.assumed
    tera = peak.fp16_tflops if precision == "fp16" else peak.int8_tops
    macs_per_us = assumed.compute_share * tera * 1e6 / 2
    bytes_per_us = assumed.bandwidth_share * peak.bandwidth_gb_s * 1e3
    return sum(
        assumed.launch_us + max(each.macs / macs_per_us, each.elements * _BYTES[precision] / bytes_per_us)
        for each in kernels
    )
