"""Where the kernel tells clocks, temperatures, throttling and over-current.

Sources for clocks: the `jetson_clocks` script of L4T for the paths of devfreq, cpufreq and BPMP's debug files;
jetson-stats (jtop/core/gpu.py, memory.py, thor_gpu.py) for the same and for Thor's `gpu-gpc-0` and `bwmgr`.

Sources for temperatures, and for the trip points at which the kernel slows the device down:
Documentation/driver-api/thermal/sysfs-api.rst of Linux (`thermal_zone*`, `trip_point_*`); jetson-stats
(jtop/core/temperature.py) for -256 degrees, which is a sensor that is switched off.

Sources for what slows the device, for its temperature or its supply: drivers/hwmon/tegra234-oc-event.c of L4T's modules
(hwmon `soctherm_oc`, `oc1_event_cnt` to `oc3_event_cnt`); NVIDIA's developer guide for Orin (`*-throttle-alert` cooling
devices); Linux's cpufreq and devfreq cooling (`cpufreq-cpu0`, `devfreq-17000000.gpu`, with `thermal-` before it on
kernels before 5.14). On Thor both were seen in others' readings of the developer kit, in no documentation.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Iterable, Mapping

from agfedge_runtime.state.sysfs import Sensor, Sysfs

_MOST_MHZ = 20_000.0
_HZ, _KHZ = 1_000_000, 1_000
# As 17000000.gv11b (Xavier), 17000000.ga10b (Orin, JetPack 5), 17000000.gpu (Orin, JetPack 6), gpu-gpc-0 (Thor).
_GPU = re.compile(r"[0-9a-f]+\.(?:gv11b|gp10b|ga10b|gpu)|gpu-gpc-0")
_BPMP_EMC = "sys/kernel/debug/bpmp/debug/clk/emc"
_EMC_CAP = "sys/kernel/nvpmodel_emc_cap/emc_iso_cap"
_BWMGR = "sys/class/devfreq/bwmgr"
_OFF_C = -256.0
_LOW_C, _HIGH_C = -50.0, 200.0
# `active` is where a fan turns faster, which slows nothing down.
_SLOWING_TRIPS = ("passive", "hot", "critical")
# The junction's temperature is the highest of the others on Orin and Thor; Xavier tells of the parts alone.
_HOTTEST = (("tj",), ("gpu", "cpu"))
_MOST_EVENTS = float(2**63)
# Not `hot-surface-alert`, which warns and slows nothing, and no fan.
_SLOWING_DEVICES = re.compile(r".*-throttle-alert|(?:thermal-)?(?:cpufreq|devfreq)-.*")
_OC_NAME = re.compile(r"(oc[0-9]{1,2})_event_cnt")


def find_clocks(sysfs: Sysfs, is_tegra: bool) -> tuple[tuple[Sensor, ...], tuple[Sensor, ...]]:
    """Sensors of the clocks in MHz, and of the highest that each may take: gpu, emc, cpu0, cpu1 and so on."""
    now: list[Sensor] = []
    most: list[Sensor] = []
    for folder in sysfs.glob("sys/class/devfreq/*"):
        if _GPU.fullmatch(folder.name):
            now.append(_mhz("gpu", folder / "cur_freq", _HZ))
            most.append(_mhz("gpu", folder / "max_freq", _HZ))
            break
    if is_tegra:
        emc, emc_most = _emc(sysfs)
        now.append(emc)
        most.append(emc_most)
    for folder in sysfs.glob("sys/devices/system/cpu/cpu[0-9]*/cpufreq"):
        now.append(_mhz(folder.parent.name, folder / "scaling_cur_freq", _KHZ))
        most.append(_mhz(folder.parent.name, folder / "scaling_max_freq", _KHZ))
    return tuple(now), tuple(most)


def cap_memory(sysfs: Sysfs, clocks_max: dict[str, float]) -> dict[str, float]:
    """The highest clocks with the power mode's cap on the memory's, which `jetson_clocks` honours too; 0 is no cap."""
    cap = _mhz("emc", sysfs.root / _EMC_CAP, _HZ).read(sysfs)
    if cap and "emc" in clocks_max:
        return {**clocks_max, "emc": min(cap, clocks_max["emc"])}
    return clocks_max


def _emc(sysfs: Sysfs) -> tuple[Sensor, Sensor]:
    if sysfs.glob(_BWMGR):
        folder = sysfs.root / _BWMGR
        return _mhz("emc", folder / "cur_freq", _HZ), _mhz("emc", folder / "max_freq", _HZ)
    # Only root may look into debugfs; without, the problem that is kept says so.
    folder = sysfs.root / _BPMP_EMC
    return _mhz("emc", folder / "rate", _HZ), _mhz("emc", folder / "max_rate", _HZ)


def _mhz(name: str, path: object, per_mhz: int) -> Sensor:
    return Sensor(name, (str(path),), per_mhz, 0.0, _MOST_MHZ)


def find_temperatures(sysfs: Sysfs) -> tuple[tuple[Sensor, ...], dict[str, float]]:
    """Sensors of the zones in degrees Celsius, and the lowest trip point of each zone that slows the device."""
    sensors: dict[str, Sensor] = {}
    trips: dict[str, float] = {}
    for folder in sysfs.glob("sys/class/thermal/thermal_zone[0-9]*"):
        kind = sysfs.name(folder / "type")
        # The power management chip has no sensor of its own: its zone says the same for ever.
        if kind is None or kind.lower().startswith("pmic"):
            continue
        name = _zone(kind, sensors)
        sensors[name] = Sensor(name, (str(folder / "temp"),), 1000, _OFF_C, _HIGH_C)
        trip = _trip(sysfs, folder)
        if trip is not None:
            trips[name] = trip
    return tuple(sensors.values()), trips


def read_temperatures(sysfs: Sysfs, sensors: Iterable[Sensor]) -> dict[str, float]:
    """Degrees Celsius by zone, without the sensors that are switched off."""
    found = {}
    for sensor in sensors:
        value = sensor.read(sysfs)
        if value is None or value == _OFF_C:
            continue
        if value < _LOW_C:
            sysfs.complain(sensor.paths[0], f"gives {value:g} degrees, expected at least {_LOW_C:g}")
            continue
        found[sensor.name] = value
    return found


def watched_zones(zones: Iterable[str]) -> tuple[str, ...]:
    """The zones whose highest temperature tells how hot the device is: its junction, else its GPU and CPU."""
    names = tuple(zones)
    for wanted in _HOTTEST:
        found = tuple(name for name in names if name in wanted)
        if found:
            return found
    return names


def hottest(temperatures_c: Mapping[str, float]) -> float | None:
    """The highest temperature of the watched zones."""
    return max((temperatures_c[name] for name in watched_zones(temperatures_c)), default=None)


def _zone(kind: str, taken: Mapping[str, Sensor]) -> str:
    """As tj for tj-thermal (Orin, Thor), gpu for GPU-therm (Xavier)."""
    name = kind.lower()
    for suffix in ("-thermal", "_thermal", "-therm", "_therm"):
        if name.endswith(suffix):
            name = name[: -len(suffix)]
            break
    name = name or kind
    number = 2
    unique = name
    while unique in taken:
        unique = f"{name}-{number}"
        number += 1
    return unique


def _trip(sysfs: Sysfs, folder: Path) -> float | None:
    found = []
    for path in sysfs.glob("trip_point_[0-9]*_type", folder):
        if sysfs.name(path) in _SLOWING_TRIPS:
            value = sysfs.integer(path.with_name(path.name[: -len("type")] + "temp"))
            # A trip point that is switched off lies below zero.
            if value is not None and 0 < value <= _HIGH_C * 1000:
                found.append(value / 1000)
    return min(found, default=None)


def find_throttling(sysfs: Sysfs) -> tuple[Sensor, ...]:
    """Sensors of the cooling devices that lower clocks: 0 while they do not, and how far they do otherwise."""
    sensors: dict[str, Sensor] = {}
    for folder in sysfs.glob("sys/class/thermal/cooling_device[0-9]*"):
        kind = sysfs.name(folder / "type")
        if kind is not None and _SLOWING_DEVICES.fullmatch(kind):
            sensors.setdefault(kind, _count(kind, folder / "cur_state"))
    return tuple(sensors.values())


def find_over_current(sysfs: Sysfs) -> tuple[Sensor, ...]:
    """Sensors of the over-current events since the device started: oc1 for under-voltage, oc2 average, oc3 peaks.

    Xavier has no such file; there BPMP's debug files count, which only root may read. That its oc0 is the first counter
    was seen on an Orin alone, so they keep BPMP's own names.
    """
    for folder in sysfs.glob("sys/class/hwmon/hwmon[0-9]*"):
        if sysfs.text(folder / "name") == "soctherm_oc":
            matches = ((_OC_NAME.fullmatch(path.name), path) for path in sysfs.glob("oc[0-9]*_event_cnt", folder))
            return tuple(_count(match.group(1), path) for match, path in matches if match is not None)
    paths = sysfs.glob("sys/kernel/debug/bpmp/debug/soctherm/oc[0-9]*/event_cnt")
    return tuple(_count(f"bpmp-{path.parent.name}", path) for path in paths)


def _count(name: str, path: object) -> Sensor:
    return Sensor(name, (str(path),), 1, 0.0, _MOST_EVENTS)
