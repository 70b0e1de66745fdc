"""Temperatures, and the trip points at which the kernel slows the device down.

Sources: Documentation/driver-api/thermal/sysfs-api.rst of Linux (`thermal_zone*`, `trip_point_*`); jetson-stats
(jtop/core/temperature.py) for -256 degrees, which is a sensor that is switched off.
"""

from __future__ import annotations

from pathlib import Path
from typing import Iterable, Mapping

from agfedge_runtime.state.sysfs import Sensor, Sysfs

_OFF_C = -256.0
_LOW_C, _HIGH_C = -50.0, 200.0
# `active` is where a fan turns faster, which slows nothing down.
_SLOWING = ("passive", "hot", "critical")
# The junction's temperature is the highest of the others on Orin and Thor; Xavier tells of the parts alone.
_HOTTEST = (("tj",), ("gpu", "cpu"))


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
        if sysfs.name(path) in _SLOWING:
            value = sysfs.integer(path.with_name(path.name[: -len("type")] + "temp"))
            # A trip point that is switched off lies below zero.
            if value is not None and 0 < value <= _HIGH_C * 1000:
                found.append(value / 1000)
    return min(found, default=None)
