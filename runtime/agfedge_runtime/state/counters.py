"""Whether the device slows itself down: for its temperature, and for its supply.

Sources: drivers/hwmon/tegra234-oc-event.c of L4T's modules (hwmon `soctherm_oc`, `oc1_event_cnt` to
`oc3_event_cnt`); NVIDIA's developer guide for Orin (`*-throttle-alert` cooling devices); Linux's cpufreq and devfreq
cooling (`cpufreq-cpu0`, `devfreq-17000000.gpu`, with `thermal-` before it on kernels before 5.14). On Thor both were
seen in others' readings of the developer kit, in no documentation.
"""

from __future__ import annotations

import re

from agfedge_runtime.state.sysfs import Sensor, Sysfs

_MOST = float(2**63)
# Not `hot-surface-alert`, which warns and slows nothing, and no fan.
_SLOWING = re.compile(r".*-throttle-alert|(?:thermal-)?(?:cpufreq|devfreq)-.*")
_OC_NAME = re.compile(r"(oc[0-9]{1,2})_event_cnt")


def find_throttling(sysfs: Sysfs) -> tuple[Sensor, ...]:
    """Sensors of the cooling devices that lower clocks: 0 while they do not, and how far they do otherwise."""
    sensors: dict[str, Sensor] = {}
    for folder in sysfs.glob("sys/class/thermal/cooling_device[0-9]*"):
        kind = sysfs.name(folder / "type")
        if kind is not None and _SLOWING.fullmatch(kind):
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
    return Sensor(name, (str(path),), 1, 0.0, _MOST)
