"""`agfedge.devices`: the device profiles that latency is predicted by."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agfedge.pages.tables import Result, Table, plain

if TYPE_CHECKING:
    from agfedge_profiles import DeviceProfile


@dataclass(frozen=True, eq=False, repr=False)
class DevicesResult(Result):
    """The device profiles.

    Attributes:
        devices: for each device its power modes, the default first.
    """

    devices: list[list[DeviceProfile]]

    def to_dict(self) -> dict[str, Any]:
        """Returns what `agfedge devices --json` prints."""
        return {
            "devices": [
                {
                    "name": modes[0].name,
                    "title": modes[0].title,
                    "compute_capability": modes[0].compute_capability,
                    "memory_gb": modes[0].memory_gb,
                    "dla_cores": modes[0].dla_cores,
                    "default_mode": modes[0].mode,
                    "modes": {each.mode: plain(each.peak) for each in modes},
                    "assumed": plain(modes[0].assumed),
                    "unchecked": plain(modes[0].unchecked),
                    "source": modes[0].source,
                }
                for modes in self.devices
            ]
        }

    def blocks(self) -> Iterator[str | Table]:
        """Gives a row for each power mode, and where the facts come from."""
        yield Table(
            ("profile", "GB", "GPU", "DLA", "power mode", "FP16 TFLOPS", "INT8 TOPS", "GB/s"),
            [_row(each, is_first=each is modes[0]) for modes in self.devices for each in modes],
        )
        yield ""
        yield "peaks are dense; a profile's first mode is its default; GPU: compute capability; DLA: cores"
        for modes in self.devices:
            first = modes[0]
            unchecked = f"; without a second source: {', '.join(first.unchecked)}" if first.unchecked else ""
            yield f"{first.name}: {first.title}; {first.source}{unchecked}"


def devices() -> DevicesResult:
    """List the device profiles: facts, power modes, sources.

    NAME or NAME:MODE is what --target takes.

    Example:
        >>> print(agfedge.devices())
    """
    from agfedge_profiles import device_names, load_device, power_modes

    return DevicesResult([[load_device(f"{name}:{mode}") for mode in power_modes(name)] for name in device_names()])


def _row(device: DeviceProfile, *, is_first: bool) -> tuple[str, ...]:
    peak = device.peak
    module = (device.name, f"{device.memory_gb:g}", device.compute_capability, str(device.dla_cores))
    return (
        *(module if is_first else ("", "", "", "")),
        device.mode,
        *(f"{value:,.1f}" for value in (peak.fp16_tflops, peak.int8_tops, peak.bandwidth_gb_s)),
    )
