"""A time series of the device's state while something is measured."""

from __future__ import annotations

import math
import threading
import time
from pathlib import Path

import numpy as np

from agfedge_runtime.machine.machine import Command
from agfedge_runtime.state import tegrastats
from agfedge_runtime.state.rails import total, total_of
from agfedge_runtime.state.reading import DeviceState, Sensors, find_sensors, read_sensors
from agfedge_runtime.state.sensors import hottest, read_temperatures, watched_zones
from agfedge_runtime.state.sysfs import Sensor, Sysfs, read_all
from agfedge_runtime.state.validity import COLUMNS, WATCHED, validity

_LEAST_S = 0.01


class StateSampler:
    """Records the device's state before, during and after what runs in its `with` block.

    A thread reads, every so often, the rails that make up the whole power, the clocks of GPU and memory, the hottest
    zone and whether GPU or CPU are throttled: the files are found once, and the interpreter is free while the kernel
    answers. Each reading's own time is recorded. Where a device has none of these, no thread runs. Where `tegrastats`
    alone tells the power, one process of it is started, and ended at the end.

    Attributes:
        before: the whole state before the block.
        after: the whole state after it; as `before` until the block ends.
        origin_s: where the times of the series begin, on the clock of `time.perf_counter`; set it to the begin of the
            samples that the series goes with.
        end_s: seconds from there to the end of the samples, after which a fallen clock is none; by default the block's.
    """

    def __init__(
        self,
        root: Path = Path("/"),
        command: Command | None = None,
        every_s: float = 0.1,
        *,
        origin_s: float | None = None,
        locked: bool = False,
        watch: tuple[str, ...] = WATCHED,
    ) -> None:
        """Make a sampler; nothing is read yet.

        Args:
            root: where the device's file system begins.
            command: runs a program and returns what it prints; by default it really runs it.
            every_s: seconds from reading to reading, at least 0.01.
            origin_s: as the attribute; by default the begin of the block.
            locked: whether the clocks are locked meanwhile, for the record.
            watch: clocks whose fall makes a run invalid; leave out "gpu" where the GPU does not compute.
        """
        self.origin_s = origin_s
        self.end_s: float | None = None
        self._sysfs = Sysfs(root)
        self._command = command
        self._every_s = max(every_s, _LEAST_S)
        self._locked = locked
        self._watch = watch
        self._columns: dict[str, list[float | None]] = {name: [] for name in COLUMNS}
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> StateSampler:
        sensors = find_sensors(self._sysfs)
        self._sensors = sensors
        self.before = self.after = read_sensors(self._sysfs, sensors, self._command)
        self._few = _Few(self._sysfs, sensors, self.before)
        if self.origin_s is None:
            self.origin_s = time.perf_counter()
        if self._few.any or sensors.tegrastats is not None:
            self._thread = threading.Thread(target=self._record, name="device state", daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        self.after = read_sensors(self._sysfs, self._sensors, self._command)

    @property
    def series(self) -> dict[str, list[float | None]]:
        """The readings up to now by name: equally long lists, None where a reading had no such value.

        ``t_s`` (seconds from `origin_s`), ``total_w``, ``gpu_mhz``, ``emc_mhz``, ``temperature_c`` (of the junction,
        else the hottest of GPU and CPU), ``throttling`` (0 while neither GPU nor CPU is slowed) and ``own_us``.
        """
        # The last column is appended last: so many readings are whole.
        count = len(self._columns[COLUMNS[-1]])
        series = {name: values[:count] for name, values in self._columns.items()}
        origin = self.origin_s or 0.0
        series["t_s"] = [None if at is None else at - origin for at in series["t_s"]]
        return series

    def invalid(self) -> list[str]:
        """Why the run does not count; see `validity`."""
        end_s = math.inf if self.end_s is None else self.end_s
        return validity(self.before, self.series, self.after, watch=self._watch, end_s=end_s)

    def to_dict(self) -> dict[str, object]:
        """All of it as plain JSON values, as `Samples.state` holds it."""
        series = self.series
        own_us = [value for value in series["own_us"] if value is not None]
        return {
            "before": self.before.to_dict(),
            "after": self.after.to_dict(),
            "series": series,
            "every_s": self._every_s,
            "own_us": float(np.median(own_us)) if own_us else None,
            "source": self.before.source,
            "problems": list(self._sysfs.problems),
            "invalid": self.invalid(),
            "locked": self._locked,
        }

    def _record(self) -> None:
        path = self._sensors.tegrastats
        if path is not None:
            try:
                with tegrastats.running(tegrastats.arguments(path, self._every_s)) as stream:
                    self._listen(stream)
            except OSError as error:
                self._sysfs.complain(path, f"cannot be started: {error.strerror}")
        self._tick()

    def _listen(self, stream: tegrastats.TegraStream) -> None:
        while not self._stop.is_set() and not stream.ended:
            text = stream.newest(self._every_s)
            began = time.perf_counter()
            line = tegrastats.parse(text or "")
            watts = total(line.rails_w, total_of(line.rails_w)).watts
            values = self._few.read()
            values["total_w"] = watts
            for name, mhz in line.clocks_mhz.items():
                if values.get(f"{name}_mhz") is None:
                    values[f"{name}_mhz"] = mhz
            self._keep(began, values)
        if stream.ended:
            self._sysfs.complain(self._sensors.tegrastats or "", "ended before the measurement did")

    def _tick(self) -> None:
        while not self._stop.is_set() and self._few.any:
            began = time.perf_counter()
            self._keep(began, self._few.read())
            # From begin to begin; a reading that came late is not made up for by two in a row.
            self._stop.wait(max(began + self._every_s - time.perf_counter(), 0.0))

    def _keep(self, began: float, values: dict[str, float | None]) -> None:
        for name in COLUMNS[1:-1]:
            self._columns[name].append(values.get(name))
        self._columns["t_s"].append(began)
        self._columns["own_us"].append((time.perf_counter() - began) * 1e6)


class _Few:
    """The few sensors that are read again and again."""

    def __init__(self, sysfs: Sysfs, sensors: Sensors, before: DeviceState) -> None:
        self._sysfs = sysfs
        self._of = sensors.total_of
        zones = watched_zones(sensor.name for sensor in sensors.temperatures)
        self._rails = [sensor for sensor in sensors.rails if sensor.name in self._of]
        # What only root may read is not tried ten times a second; what rests at the moment is.
        wanted = ("gpu", "emc") if "emc" in before.clocks_mhz else ("gpu",)
        self._clocks = [sensor for sensor in sensors.clocks if sensor.name in wanted]
        self._temperatures = [sensor for sensor in sensors.temperatures if sensor.name in zones]
        self._throttling = [sensor for sensor in sensors.throttling if _is_of_gpu_or_cpu(sensor)]

    @property
    def any(self) -> bool:
        """Whether there is anything to read."""
        return bool(self._rails or self._clocks or self._temperatures or self._throttling)

    def read(self) -> dict[str, float | None]:
        """The values of a reading by column."""
        clocks = read_all(self._sysfs, self._clocks)
        levels = read_all(self._sysfs, self._throttling)
        return {
            "total_w": total(read_all(self._sysfs, self._rails), self._of).watts,
            "gpu_mhz": clocks.get("gpu"),
            "emc_mhz": clocks.get("emc"),
            "temperature_c": hottest(read_temperatures(self._sysfs, self._temperatures)),
            "throttling": max(levels.values(), default=None),
        }


def _is_of_gpu_or_cpu(sensor: Sensor) -> bool:
    # The processors have a cooling device each on some kernels, which would be a dozen files; one alert tells for all.
    return "gpu" in sensor.name or "devfreq" in sensor.name or sensor.name == "cpu-throttle-alert"
