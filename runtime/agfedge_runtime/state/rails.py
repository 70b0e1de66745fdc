"""The power that the module's own monitors measure, and which of it is the whole.

Sources: Documentation/hwmon/ina3221.rst and ina238.rst of Linux for names and units (in*_input mV, curr*_input mA,
power1_input uW); jetson-stats (jtop/core/power.py) for the older `iio` names (in_power*_input mW, rail_name_*) and for
labels that are no rail; the device trees of Linux for the labels of Orin; recorded lines of `tegrastats` for those of
Thor. INA3221's files need no root.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Collection, Mapping

from agfedge_runtime.state.sysfs import Sensor, Sysfs

# A GPU that is switched off reads a little below nothing.
_LOW_W, _HIGH_W = -5.0, 1000.0
# What goes into the whole module: Orin Nano, Orin NX and Xavier NX; Thor; the modules before.
_TOTALS = ("VDD_IN", "VIN", "POM_5V_IN")
# Modules that measure no whole, and the rails that make it up. AGX Orin's second monitor has VDDQ_VDD2_1V8AO too: it is
# fed by the same 5 V as VIN_SYS_5V0 reads, so that the sum would count it twice (its voltage says so; no second source
# does). Thor's are its module's rails where VIN is not there.
_PARTS = (
    ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"),
    ("VDD_GPU", "VDD_CPU_SOC_MSS", "VIN_SYS_5V0"),
    ("GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"),
)
_MONITORS = ("ina3221", "ina238", "ina226")
_LABEL = re.compile(r"in([0-9]{1,2})_label")
_RAIL_NAME = re.compile(r"rail_name_([0-9]{1,2})")


@dataclass(frozen=True)
class Total:
    """The whole power.

    Attributes:
        watts: None where it is not known.
        of: the rails that it is the sum of; one where the device measures the whole.
    """

    watts: float | None
    of: tuple[str, ...]


def find_rails(sysfs: Sysfs) -> tuple[Sensor, ...]:
    """Sensors of all rails in watts, from hwmon, else from iio."""
    found: dict[str, Sensor] = {}
    for folder in sysfs.glob("sys/class/hwmon/hwmon[0-9]*"):
        if sysfs.text(folder / "name") in _MONITORS:
            for sensor in _hwmon(sysfs, folder):
                found.setdefault(sensor.name, sensor)
    if not found:
        # JetPack 4, and boards that came from it.
        for folder in sysfs.glob("sys/bus/i2c/drivers/ina3221x/*/iio*device*"):
            for sensor in _iio(sysfs, folder):
                found.setdefault(sensor.name, sensor)
    return tuple(found.values())


def total_of(rails: Collection[str]) -> tuple[str, ...]:
    """Which of these rails make up the whole; none where the device is not known.

    A part is never added to a whole, and a rail that the device has but did not read is not left out in silence: give
    the names of all rails that it has.
    """
    for name in _TOTALS:
        if name in rails:
            return (name,)
    return next((parts for parts in _PARTS if all(part in rails for part in parts)), ())


def total(rails_w: Mapping[str, float], of: tuple[str, ...]) -> Total:
    """The sum of the rails that make up the whole; None where one of them was not read, or the sum is below zero."""
    if not of or any(name not in rails_w for name in of):
        return Total(None, of)
    watts = sum(rails_w[name] for name in of)
    return Total(watts if watts >= 0 else None, of)


def rail(name: str, paths: tuple[Path, ...], per_watt: int) -> Sensor:
    """A sensor of a rail in watts."""
    return Sensor(name, tuple(str(path) for path in paths), per_watt, _LOW_W, _HIGH_W)


def believable(watts: float) -> bool:
    """Whether a rail of such a device can take so much."""
    return _LOW_W <= watts <= _HIGH_W


def _hwmon(sysfs: Sysfs, folder: Path) -> list[Sensor]:
    # A monitor of one channel measures the power itself, and is labelled as a whole or by its channel.
    if sysfs.has(folder / "power1_input"):
        label = sysfs.name(folder / "label") or sysfs.name(folder / "in1_label")
        return [rail(label, (folder / "power1_input",), 1_000_000)] if label else []
    sensors = []
    for path in sysfs.glob("in[0-9]*_label", folder):
        match = _LABEL.fullmatch(path.name)
        current = folder / f"curr{match.group(1)}_input" if match else None
        # What has no current is no rail: "sum of shunt voltages", the shunts themselves.
        if match is None or current is None or not sysfs.has(current):
            continue
        label = sysfs.name(path)
        if label and label != "NC" and "shunt" not in label:
            sensors.append(rail(label, (folder / f"in{match.group(1)}_input", current), 1_000_000))
    return sensors


def _iio(sysfs: Sysfs, folder: Path) -> list[Sensor]:
    sensors = []
    for path in sysfs.glob("rail_name_[0-9]*", folder):
        match = _RAIL_NAME.fullmatch(path.name)
        label = sysfs.name(path)
        if match is not None and label and label != "NC":
            sensors.append(rail(label, (folder / f"in_power{match.group(1)}_input",), 1000))
    return sensors
