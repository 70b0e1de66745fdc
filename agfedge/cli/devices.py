"""`agfedge devices`: the device profiles, with their power modes and where their facts come from."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from agfedge.cli.output import print_json, print_line, print_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agfedge_profiles import DeviceProfile

_HEADERS = ("profile", "GB", "GPU", "DLA", "power mode", "FP16 TFLOPS", "INT8 TOPS", "GB/s")


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command's arguments."""
    parser = commands.add_parser(
        "devices",
        help="the device profiles: facts, power modes, sources",
        description="List the device profiles. NAME or NAME:MODE is what `prune --target` and `search --costs` take.",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Runs the command."""
    from agfedge_profiles import device_names, load_device, power_modes

    devices = [[load_device(f"{name}:{mode}") for mode in power_modes(name)] for name in device_names()]
    if arguments.json:
        print_json([_facts(modes) for modes in devices])
    else:
        _print(devices)
    return 0


def _facts(modes: Sequence[DeviceProfile]) -> dict[str, object]:
    default = modes[0]
    return {
        "name": default.name,
        "title": default.title,
        "compute_capability": default.compute_capability,
        "memory_gb": default.memory_gb,
        "dla_cores": default.dla_cores,
        "default_mode": default.mode,
        "modes": {each.mode: each.peak for each in modes},
        "assumed": default.assumed,
        "unchecked": default.unchecked,
        "source": default.source,
    }


def _print(devices: Sequence[Sequence[DeviceProfile]]) -> None:
    print_table(_HEADERS, [_row(each, is_first=each is modes[0]) for modes in devices for each in modes])
    print_line()
    print_line("peaks are dense; a profile's first mode is its default; GPU: compute capability; DLA: cores")
    for modes in devices:
        first = modes[0]
        unchecked = f"; without a second source: {', '.join(first.unchecked)}" if first.unchecked else ""
        print_line(f"{first.name}: {first.title}; {first.source}{unchecked}")


def _row(device: DeviceProfile, *, is_first: bool) -> tuple[str, ...]:
    peak = device.peak
    module = (device.name, f"{device.memory_gb:g}", device.compute_capability, str(device.dla_cores))
    return (
        *(module if is_first else ("", "", "", "")),
        device.mode,
        *(f"{value:,.1f}" for value in (peak.fp16_tflops, peak.int8_tops, peak.bandwidth_gb_s)),
    )
