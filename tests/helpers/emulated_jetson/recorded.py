"""The files of the device: what its release, its device tree, its sensors and its tools say.

`machines` has what the runtime reads; here is the rest: tools as programs that print lines as such a device's do, and
sensors as L4T 36 lays them out. The figures are plausible and agree: a rail's power is voltage times current.
"""

from __future__ import annotations

from pathlib import Path

from machines import ORIN_NANO_JETPACK_6_2, RecordedMachine

_TEGRASTATS = (
    "01-15-2025 10:20:31 RAM 1849/7620MB (lfb 4x4MB) SWAP 0/3810MB (cached 0MB) "
    "CPU [3%@729,0%@729,1%@729,0%@729,0%@729,0%@729] GR3D_FREQ 0% cpu@47.093C soc2@46.031C soc0@46.718C gpu@47.406C "
    "tj@47.406C soc1@46.562C VDD_IN 4560mW/4560mW VDD_CPU_GPU_CV 520mW/520mW VDD_SOC 1440mW/1440mW"
)
_CLOCKS = (
    "SOC family:tegra234  Machine:NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super\nOnline CPUs: 0-5"
)
_PROGRAMS = {
    name: f"#!/bin/sh\ncat <<'said'\n{said}\nsaid\n"
    for name, said in {
        "usr/sbin/nvpmodel": ORIN_NANO_JETPACK_6_2.says["/usr/sbin/nvpmodel"].strip(),
        "usr/bin/tegrastats": _TEGRASTATS,
        "usr/bin/jetson_clocks": _CLOCKS,
    }.items()
}
_MODES = {
    "etc/nvpmodel.conf": """< POWER_MODEL ID=0 NAME=15W >
< POWER_MODEL ID=1 NAME=25W >
< POWER_MODEL ID=2 NAME=MAXN_SUPER >
< POWER_MODEL ID=3 NAME=7W >
""",
    "var/lib/nvpmodel/status": "pmode:0002\n",
}
# Label, millivolts, milliamperes.
_RAILS = (("VDD_IN", 5000, 912), ("VDD_CPU_GPU_CV", 5000, 104), ("VDD_SOC", 5000, 288))
_ZONES = {"cpu": 47_093, "gpu": 47_406, "soc0": 46_718, "soc1": 46_562, "soc2": 46_031, "tj": 47_406}


def write_device(folder: Path) -> None:
    """Lays the device's files below `folder`."""
    ORIN_NANO_JETPACK_6_2.write(folder)
    RecordedMachine(_PROGRAMS | _MODES | _rails() | _zones()).write(folder)
    for name in _PROGRAMS:
        (folder / name).chmod(0o755)


def _rails() -> dict[str, str]:
    folder = "sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon1"
    files = {f"{folder}/name": "ina3221\n"}
    for number, (label, millivolts, milliamperes) in enumerate(_RAILS, 1):
        files[f"{folder}/in{number}_label"] = f"{label}\n"
        files[f"{folder}/in{number}_input"] = f"{millivolts}\n"
        files[f"{folder}/curr{number}_input"] = f"{milliamperes}\n"
    return files


def _zones() -> dict[str, str]:
    files = {}
    for number, (zone, millidegrees) in enumerate(_ZONES.items()):
        files[f"sys/class/thermal/thermal_zone{number}/type"] = f"{zone}-thermal\n"
        files[f"sys/class/thermal/thermal_zone{number}/temp"] = f"{millidegrees}\n"
    return files
