"""The device's state at one moment."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Mapping

from agfedge_runtime.machine.machine import ActivePowerMode, Command, read_power_mode
from agfedge_runtime.state import tegrastats
from agfedge_runtime.state.rails import find_rails, total, total_of
from agfedge_runtime.state.sensors import (
    cap_memory,
    find_clocks,
    find_over_current,
    find_temperatures,
    find_throttling,
    read_temperatures,
)
from agfedge_runtime.state.sysfs import Sensor, Sysfs, read_all

# What tegrastats is asked for a single reading: it averages over its interval.
_ONE_READING_S = 0.1
_NO_WHOLE = "the power of the whole device is not known: got {}, expected VDD_IN, VIN or the rails of a known module"


@dataclass(frozen=True)
class Sensors:
    """Where a device tells of its state, found once.

    Attributes:
        clocks: MHz now.
        clocks_max: MHz at most.
        temperatures: degrees Celsius.
        trips_c: the lowest trip point of each zone that slows the device.
        throttling: how far each cooling device slows it.
        over_current: events since the device started.
        rails: watts.
        tegrastats: the program that tells the power where no rail does.
    """

    clocks: tuple[Sensor, ...]
    clocks_max: tuple[Sensor, ...]
    temperatures: tuple[Sensor, ...]
    trips_c: Mapping[str, float]
    throttling: tuple[Sensor, ...]
    over_current: tuple[Sensor, ...]
    rails: tuple[Sensor, ...]
    tegrastats: str | None

    @property
    def total_of(self) -> tuple[str, ...]:
        """The rails that make up the whole."""
        return total_of([rail.name for rail in self.rails])


@dataclass(frozen=True)
class DeviceState:
    """The device's state at one moment; what it does not tell is None or not there.

    Attributes:
        at_s: seconds on the clock of `time.perf_counter`.
        power_mode: a Jetson's.
        clocks_mhz: gpu, emc (memory), cpu0, cpu1 and so on.
        clocks_max_mhz: the highest that each may take now.
        temperatures_c: degrees Celsius by thermal zone.
        trips_c: by zone, the lowest temperature at which the kernel slows the device.
        throttling: by cooling device that lowers clocks, 0 while it does not, else how far.
        over_current: events since the device started, by counter.
        rails_w: watts by rail.
        total_w: watts of the whole module.
        total_of: the rails that `total_w` is the sum of.
        source: of the power: ``ina3221`` (the kernel's monitors, Thor's INA238 too), ``tegrastats``, or None.
        problems: what is there but makes no sense, a line each.
    """

    at_s: float
    power_mode: ActivePowerMode | None = None
    clocks_mhz: Mapping[str, float] = field(default_factory=dict)
    clocks_max_mhz: Mapping[str, float] = field(default_factory=dict)
    temperatures_c: Mapping[str, float] = field(default_factory=dict)
    trips_c: Mapping[str, float] = field(default_factory=dict)
    throttling: Mapping[str, int] = field(default_factory=dict)
    over_current: Mapping[str, int] = field(default_factory=dict)
    rails_w: Mapping[str, float] = field(default_factory=dict)
    total_w: float | None = None
    total_of: tuple[str, ...] = ()
    source: str | None = None
    problems: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, object]:
        """The state as plain JSON values."""
        mode = self.power_mode
        values = {each.name: getattr(self, each.name) for each in dataclasses.fields(self)}
        plain = {name: dict(value) if isinstance(value, Mapping) else value for name, value in values.items()}
        return {
            **plain,
            "power_mode": None if mode is None else {"number": mode.number, "name": mode.name},
            "total_of": list(self.total_of),
            "problems": list(self.problems),
        }


def read_state(root: Path = Path("/"), command: Command | None = None) -> DeviceState:
    """Read the device's state; never raises. Takes up to a few seconds where programs are asked.

    Args:
        root: where its file system begins.
        command: runs a program and returns what it prints, or None where it fails; by default it really runs it.
    """
    sysfs = Sysfs(root)
    return read_sensors(sysfs, find_sensors(sysfs), command)


def find_sensors(sysfs: Sysfs) -> Sensors:
    """Find once what `read_sensors` reads."""
    compatible = sysfs.text(sysfs.root / "proc/device-tree/compatible") or ""
    clocks, clocks_max = find_clocks(sysfs, "nvidia,tegra" in compatible)
    temperatures, trips = find_temperatures(sysfs)
    rails = find_rails(sysfs)
    return Sensors(
        clocks=clocks,
        clocks_max=clocks_max,
        temperatures=temperatures,
        trips_c=trips,
        throttling=find_throttling(sysfs),
        over_current=find_over_current(sysfs),
        rails=rails,
        tegrastats=None if rails else tegrastats.program(sysfs.root),
    )


def read_sensors(sysfs: Sysfs, sensors: Sensors, command: Command | None = None) -> DeviceState:
    """Read the device's state from sensors that were found before; see `read_state`."""
    rails, of = read_all(sysfs, sensors.rails), sensors.total_of
    source = "ina3221" if rails else None
    clocks = read_all(sysfs, sensors.clocks)
    if sensors.tegrastats is not None:
        line = _ask_tegrastats(sysfs, sensors.tegrastats, command)
        rails, of = dict(line.rails_w), total_of(line.rails_w)
        clocks = {**line.clocks_mhz, **clocks}
        source = "tegrastats" if rails else None
    if rails and not of:
        sysfs.complain(sysfs.root / "sys/class/hwmon", _NO_WHOLE.format(", ".join(rails)))
    return DeviceState(
        at_s=time.perf_counter(),
        power_mode=read_power_mode(sysfs.root, command),
        clocks_mhz=clocks,
        clocks_max_mhz=cap_memory(sysfs, read_all(sysfs, sensors.clocks_max)),
        temperatures_c=read_temperatures(sysfs, sensors.temperatures),
        trips_c=sensors.trips_c,
        throttling=_counts(sysfs, sensors.throttling),
        over_current=_counts(sysfs, sensors.over_current),
        rails_w=rails,
        total_w=total(rails, of).watts,
        total_of=of,
        source=source,
        problems=tuple(sysfs.problems),
    )


def _counts(sysfs: Sysfs, sensors: tuple[Sensor, ...]) -> dict[str, int]:
    return {name: int(value) for name, value in read_all(sysfs, sensors).items()}


def _ask_tegrastats(sysfs: Sysfs, path: str, command: Command | None) -> tegrastats.Line:
    argv = tegrastats.arguments(path, _ONE_READING_S)
    said = tegrastats.first_line(argv) if command is None else command(argv)
    line = tegrastats.parse((said or "").split("\n")[0])
    if not line.rails_w:
        sysfs.complain(path, "told no power" if said else "printed nothing")
    return line
