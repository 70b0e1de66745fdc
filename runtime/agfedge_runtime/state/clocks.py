"""Clocks of GPU, memory and processors.

Sources: the `jetson_clocks` script of L4T for the paths of devfreq, cpufreq and BPMP's debug files; jetson-stats
(jtop/core/gpu.py, memory.py, thor_gpu.py) for the same and for Thor's `gpu-gpc-0` and `bwmgr`.
"""

from __future__ import annotations

import re

from agfedge_runtime.state.sysfs import Sensor, Sysfs

_MOST_MHZ = 20_000.0
_HZ, _KHZ = 1_000_000, 1_000
# As 17000000.gv11b (Xavier), 17000000.ga10b (Orin, JetPack 5), 17000000.gpu (Orin, JetPack 6), gpu-gpc-0 (Thor).
_GPU = re.compile(r"[0-9a-f]+\.(?:gv11b|gp10b|ga10b|gpu)|gpu-gpc-0")
_BPMP_EMC = "sys/kernel/debug/bpmp/debug/clk/emc"
_EMC_CAP = "sys/kernel/nvpmodel_emc_cap/emc_iso_cap"
_BWMGR = "sys/class/devfreq/bwmgr"


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
