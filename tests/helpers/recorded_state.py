"""The state of Jetsons as their files and `tegrastats` tell of it.

Put together from documented formats and from lines that others published (see docs/reference/device-state.md); no
device was at hand. Paths, labels, units and the form of each line are those of the module and its JetPack; the numbers
are plausible, and each module's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from machines import AGX_ORIN_JETPACK_5_1, ORIN_NANO_JETPACK_6_2, THOR_JETPACK_7, XAVIER_NX_JETPACK_5_1, RecordedMachine

Files = Mapping[str, str]
TEGRASTATS = "usr/bin/tegrastats"


@dataclass(frozen=True)
class RecordedState:
    """A device's state, and what is to be read from it.

    Attributes:
        machine: its files, and what its programs print.
        line: what `tegrastats` prints there, once.
        total_w: its whole power by the kernel's files.
        total_of: the rails that it is the sum of.
        line_w: its whole power by `line`.
        gpu_mhz: clock of its GPU.
        emc_mhz: clock of its memory.
        hottest_c: temperature of its junction, or the hottest of GPU and CPU.
        trip_c: trip point of the same.
        over_current: its counters.
        slowing: its cooling devices that lower clocks.
    """

    machine: RecordedMachine
    line: str
    total_w: float
    total_of: tuple[str, ...]
    line_w: float
    gpu_mhz: float
    emc_mhz: float
    hottest_c: float
    trip_c: float
    over_current: Mapping[str, int] = field(default_factory=dict)
    slowing: tuple[str, ...] = ()

    def write(self, root: Path) -> Path:
        """Lays the files down under `root`."""
        return self.machine.write(root)

    def without_rails(self) -> RecordedMachine:
        """The same device without its power monitors, but with a `tegrastats` that prints its line."""
        files = {name: content for name, content in self.machine.files.items() if "/hwmon1/" not in name}
        files = {name: content for name, content in files.items() if "/hwmon2/" not in name and "ina3221x" not in name}
        return RecordedMachine(files={**files, TEGRASTATS: endless(self.line)}, says=self.machine.says)


def endless(line: str, lines: int = 1000, every_s: float = 0.02) -> str:
    """A script that prints a line again and again, as tegrastats does until it is ended."""
    return f"#!/bin/sh\nfor each in $(seq {lines}); do\necho '{line}'\nsleep {every_s}\ndone\n"


def executable(root: Path) -> Path:
    """Lets the scripts under `root` run."""
    (root / TEGRASTATS).chmod(0o755)
    return root


def hwmon(number: int, name: str, *channels: tuple[str, int, int], shunts: bool = True) -> Files:
    """An INA3221 of hwmon: (label, mV, mA) by channel, and the shunts, which are no rails."""
    folder = f"sys/class/hwmon/hwmon{number}"
    files = {f"{folder}/name": f"{name}\n"}
    for index, (label, millivolts, milliamperes) in enumerate(channels, start=1):
        files[f"{folder}/in{index}_label"] = f"{label}\n"
        files[f"{folder}/in{index}_input"] = f"{millivolts}\n"
        files[f"{folder}/curr{index}_input"] = f"{milliamperes}\n"
        files[f"{folder}/in{index + 3}_input"] = "40\n"
    if shunts:
        files[f"{folder}/in7_label"] = "sum of shunt voltages\n"
        files[f"{folder}/in7_input"] = "120\n"
    return files


def iio(address: str, device: int, *channels: tuple[str, int]) -> Files:
    """An INA3221 of JetPack 4's kernel: (rail, mW) by channel."""
    folder = f"sys/bus/i2c/drivers/ina3221x/{address}/iio:device{device}"
    files = {}
    for index, (label, milliwatts) in enumerate(channels):
        files[f"{folder}/rail_name_{index}"] = f"{label}\n"
        files[f"{folder}/in_power{index}_input"] = f"{milliwatts}\n"
    return files


def over_current(number: int, *counts: int) -> Files:
    """The counters of Orin's over-current driver."""
    folder = f"sys/class/hwmon/hwmon{number}"
    files = {f"{folder}/name": "soctherm_oc\n"}
    for index, count in enumerate(counts, start=1):
        files[f"{folder}/oc{index}_event_cnt"] = f"{count}\n"
        files[f"{folder}/oc{index}_throt_en"] = "1\n"
    return files


def zones(trip_c: float, **celsius: float) -> Files:
    """Thermal zones with an active trip point for the fan, a passive one, and a critical one above it."""
    files = {}
    for index, (name, value) in enumerate(celsius.items()):
        folder = f"sys/class/thermal/thermal_zone{index}"
        files[f"{folder}/type"] = f"{name.replace('_', '-')}\n"
        files[f"{folder}/temp"] = f"{value * 1000:.0f}\n"
        trips = (("active", 35.0), ("passive", trip_c), ("critical", trip_c + 5.5), ("hot", -274.0))
        for number, (kind, at_c) in enumerate(trips):
            files[f"{folder}/trip_point_{number}_type"] = f"{kind}\n"
            files[f"{folder}/trip_point_{number}_temp"] = f"{at_c * 1000:.0f}\n"
    return files


def cooling(**states: int) -> Files:
    """Cooling devices."""
    files = {}
    for index, (name, level) in enumerate(states.items()):
        folder = f"sys/class/thermal/cooling_device{index}"
        files[f"{folder}/type"] = f"{name.replace('_', '-')}\n"
        files[f"{folder}/cur_state"] = f"{level}\n"
        files[f"{folder}/max_state"] = "2\n"
    return files


def clocks(gpu: str, gpu_mhz: float, emc_mhz: float, cpus: int, cpu_khz: int, bwmgr: bool = False) -> Files:
    """Clocks of GPU (the name of its devfreq folder), memory and processors."""
    files = {
        f"sys/class/devfreq/{gpu}/cur_freq": f"{gpu_mhz * 1e6:.0f}\n",
        f"sys/class/devfreq/{gpu}/max_freq": f"{gpu_mhz * 1e6:.0f}\n",
    }
    if bwmgr:
        files["sys/class/devfreq/bwmgr/cur_freq"] = files["sys/class/devfreq/bwmgr/max_freq"] = f"{emc_mhz * 1e6:.0f}\n"
    else:
        folder = "sys/kernel/debug/bpmp/debug/clk/emc"
        files[f"{folder}/rate"] = files[f"{folder}/max_rate"] = f"{emc_mhz * 1e6:.0f}\n"
    for index in range(cpus):
        folder = f"sys/devices/system/cpu/cpu{index}/cpufreq"
        files[f"{folder}/scaling_cur_freq"] = f"{cpu_khz}\n"
        files[f"{folder}/scaling_max_freq"] = f"{cpu_khz}\n"
    return files


def _machine(base: RecordedMachine, *parts: Files) -> RecordedMachine:
    files = dict(base.files)
    for part in parts:
        files.update(part)
    return RecordedMachine(files=files, says=base.says)


def _named(compatible: str, mode: str, number: int) -> RecordedMachine:
    files = {"proc/device-tree/compatible": compatible, "usr/sbin/nvpmodel": ""}
    return RecordedMachine(files=files, says={"/usr/sbin/nvpmodel": f"NV Power Mode: {mode}\n{number}\n"})


_ALERTS = {f"{name}_throttle_alert": 0 for name in ("cpu", "gpu", "cv0", "cv1", "cv2", "soc0", "soc1", "soc2")}
_ORIN_SLOWING = (*(name.replace("_", "-") for name in _ALERTS), "devfreq-17000000.gpu")
_ORIN_COOLING = cooling(pwm_fan=3, **_ALERTS, **{"hot_surface_alert": 1, "devfreq_17000000.gpu": 0})
_ORIN_LINE = "SWAP 0/3810MB (cached 0MB) CPU [2%@1510,1%@1510,off,off,9%@1510,1%@1510]"

ORIN_NANO_JETPACK_6 = RecordedState(
    machine=_machine(
        ORIN_NANO_JETPACK_6_2,
        hwmon(1, "ina3221", ("VDD_IN", 4976, 1456), ("VDD_CPU_GPU_CV", 4976, 344), ("VDD_SOC", 4976, 504)),
        over_current(3, 0, 0, 813),
        zones(99.0, cpu_thermal=51.687, gpu_thermal=50.218, cv0_thermal=-256.0, tj_thermal=51.687),
        _ORIN_COOLING,
        clocks("17000000.gpu", 1020.0, 3199.0, 6, 1_728_000),
    ),
    line=f"11-15-2025 08:38:09 RAM 2161/7620MB (lfb 149x4MB) {_ORIN_LINE} GR3D_FREQ 0% cpu@55.093C soc2@53.75C "
    "soc0@54.562C gpu@56.562C tj@56.562C VDD_IN 7256mW/7250mW VDD_CPU_GPU_CV 1711mW/1711mW VDD_SOC 2511mW/2511mW",
    total_w=7.245056,
    total_of=("VDD_IN",),
    line_w=7.256,
    gpu_mhz=1020.0,
    emc_mhz=3199.0,
    hottest_c=51.687,
    trip_c=99.0,
    over_current={"oc1": 0, "oc2": 0, "oc3": 813},
    slowing=_ORIN_SLOWING,
)
ORIN_NX_JETPACK_5 = RecordedState(
    machine=_machine(
        _named("nvidia,p3509-0000+p3767-0000\0nvidia,tegra234\0", "15W", 2),
        hwmon(1, "ina3221", ("VDD_IN", 4992, 1200), ("VDD_CPU_GPU_CV", 4992, 240), ("VDD_SOC", 4992, 320)),
        over_current(3, 0, 0, 0),
        zones(99.0, cpu_thermal=44.9, gpu_thermal=43.0, tj_thermal=45.0),
        cooling(cpu_throttle_alert=0, gpu_throttle_alert=0, **{"thermal_devfreq_0": 0}),
        clocks("17000000.ga10b", 612.0, 2133.0, 8, 1_190_400),
    ),
    line="08-02-2023 10:11:12 RAM 3347/15453MB (lfb 896x4MB) SWAP 0/7726MB (cached 0MB) CPU [21%@1190,19%@1190,"
    "18%@1190,21%@1190,off,off,off,off] EMC_FREQ 13%@2133 GR3D_FREQ 61%@[611] VIC_FREQ 115 APE 174 CV0@-256C CPU@44.9C "
    "SOC2@43.9C SOC0@43C CV1@-256C GPU@43C tj@45C SOC1@42.6C CV2@-256C VDD_IN 5990mW/5990mW "
    "VDD_CPU_GPU_CV 1198mW/1198mW VDD_SOC 1597mW/1597mW",
    total_w=5.9904,
    total_of=("VDD_IN",),
    line_w=5.99,
    gpu_mhz=612.0,
    emc_mhz=2133.0,
    hottest_c=45.0,
    trip_c=99.0,
    over_current={"oc1": 0, "oc2": 0, "oc3": 0},
    slowing=("cpu-throttle-alert", "gpu-throttle-alert", "thermal-devfreq-0"),
)
_AGX_RAILS = (
    hwmon(1, "ina3221", ("VDD_GPU_SOC", 18792, 140), ("VDD_CPU_CV", 18784, 20), ("VIN_SYS_5V0", 4968, 980)),
    hwmon(2, "ina3221", ("NC", 0, 0), ("VDDQ_VDD2_1V8AO", 4968, 80), shunts=False),
)
AGX_ORIN_JETPACK_5 = RecordedState(
    machine=_machine(
        AGX_ORIN_JETPACK_5_1,
        *_AGX_RAILS,
        over_current(3, 0, 0, 4),
        zones(99.0, CPU_therm=47.2, GPU_therm=43.1, tj_therm=47.3),
        cooling(cpu_throttle_alert=0, gpu_throttle_alert=0),
        clocks("17000000.ga10b", 1300.5, 3199.0, 12, 2_201_600),
    ),
    line="RAM 3456/62800MB (lfb 1571x4MB) SWAP 0/31400MB (cached 0MB) CPU [100%@2201,1%@2201,off,78%@2201] "
    "EMC_FREQ 1%@2133 GR3D_FREQ 14%@[407,407] VIC_FREQ 115 NVDLA0_FREQ @1600 APE 174 CV0@73.625C CPU@77.281C "
    "Tboard@62C SOC2@70C Tdiode@62.25C SOC0@69.531C CV1@72.5C GPU@69.125C tj@77.281C SOC1@68.968C CV2@67.25C "
    "VDD_GPU_SOC 3150mW/2971mW VDD_CPU_CV 14312mW/12415mW VIN_SYS_5V0 4968mW/5048mW VDDQ_VDD2_1V8AO 1091mW/1091mW",
    total_w=7.8752,
    total_of=("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"),
    line_w=22.43,
    gpu_mhz=1300.5,
    emc_mhz=3199.0,
    hottest_c=47.3,
    trip_c=99.0,
    over_current={"oc1": 0, "oc2": 0, "oc3": 4},
    slowing=("cpu-throttle-alert", "gpu-throttle-alert"),
)
# The same module with JetPack 7, whose tegrastats has a third number, and the highest temperature too.
AGX_ORIN_JETPACK_7 = RecordedState(
    machine=_machine(
        _named("nvidia,p3737-0000+p3701-0005\0nvidia,tegra234\0", "MAXN", 0),
        *_AGX_RAILS,
        over_current(3, 0, 0, 0),
        zones(99.0, cpu_thermal=51.9, gpu_thermal=47.1, tj_thermal=52.0),
        _ORIN_COOLING,
        clocks("17000000.gpu", 1300.5, 3199.0, 12, 2_201_600),
    ),
    line="07-17-2026 15:15:27 RAM 8179/62817MB (lfb 1x4MB) CPU [35%@729,24%@729,27%@1113,32%@1113] GR3D_FREQ 32% "
    "cpu@51.968C/51.968C soc2@48.968C/48.968C soc0@49.406C/49.5C gpu@47.125C/47.125C tj@51.968C/51.968C "
    "soc1@47.906C/48.093C VDD_GPU_SOC 4385mW/3787mW/4385mW VDD_CPU_CV 1196mW/897mW/1196mW "
    "VIN_SYS_5V0 5552mW/5274mW/5552mW",
    total_w=7.8752,
    total_of=("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"),
    line_w=11.133,
    gpu_mhz=1300.5,
    emc_mhz=3199.0,
    hottest_c=52.0,
    trip_c=99.0,
    over_current={"oc1": 0, "oc2": 0, "oc3": 0},
    slowing=_ORIN_SLOWING,
)
XAVIER_NX_JETPACK_5 = RecordedState(
    machine=_machine(
        XAVIER_NX_JETPACK_5_1,
        hwmon(1, "ina3221", ("VDD_IN", 4968, 800), ("VDD_CPU_GPU_CV", 4968, 120), ("VDD_SOC", 4968, 220)),
        zones(95.5, AUX_therm=36.0, CPU_therm=37.5, thermal_fan_est=36.7, AO_therm=36.5, GPU_therm=36.0, PMIC_Die=50.0),
        cooling(pwm_fan=0, **{"thermal_cpufreq_0": 0, "thermal_devfreq_0": 0}),
        clocks("17000000.gv11b", 1109.25, 1866.0, 6, 1_420_800),
    ),
    line="RAM 1234/6953MB (lfb 812x4MB) SWAP 0/3476MB (cached 0MB) CPU [7%@1420,2%@1420,off,off,1%@1190,0%@1190] "
    "EMC_FREQ 0% GR3D_FREQ 0% AO@36.5C GPU@36C PMIC@50C AUX@36C CPU@37.5C thermal@36.65C VDD_IN 3974/3974 "
    "VDD_CPU_GPU_CV 597/597 VDD_SOC 1093/1093",
    total_w=3.9744,
    total_of=("VDD_IN",),
    line_w=3.974,
    gpu_mhz=1109.25,
    emc_mhz=1866.0,
    hottest_c=37.5,
    trip_c=95.5,
    slowing=("thermal-cpufreq-0", "thermal-devfreq-0"),
)
# With the older names of its power monitors.
AGX_XAVIER_JETPACK_5 = RecordedState(
    machine=_machine(
        _named("nvidia,p2822-0000+p2888-0001\0nvidia,tegra194\0", "MODE_30W_ALL", 3),
        iio("1-0040", 0, ("GPU", 467), ("CPU", 778), ("SOC", 1245)),
        iio("1-0041", 1, ("CV", 0), ("VDDRQ", 311), ("SYS5V", 2768)),
        zones(86.0, CPU_therm=36.5, GPU_therm=35.0, Tdiode_tegra=38.75),
        cooling(pwm_fan=0, **{"thermal_cpufreq_0": 0, "thermal_devfreq_0": 0}),
        clocks("17000000.gv11b", 905.25, 1600.0, 8, 1_190_400),
    ),
    line="RAM 2345/31919MB (lfb 6213x4MB) SWAP 0/15959MB (cached 0MB) CPU [0%@1190,1%@1190,0%@1190,0%@1189,0%@1190,"
    "0%@1191,0%@1190,0%@1190] EMC_FREQ 0%@1331 GR3D_FREQ 0%@114 VIC_FREQ 115 APE 150 AUX@36C CPU@36.5C thermal@35.7C "
    "Tboard@37C AO@35C GPU@35C Tdiode@38.75C PMIC@50C GPU 467mW/467mW CPU 467mW/467mW SOC 1245mW/1245mW CV 0mW/0mW "
    "VDDRQ 311mW/311mW SYS5V 2768mW/2768mW",
    total_w=5.569,
    total_of=("GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"),
    line_w=5.258,
    gpu_mhz=905.25,
    emc_mhz=1600.0,
    hottest_c=36.5,
    trip_c=86.0,
    slowing=("thermal-cpufreq-0", "thermal-devfreq-0"),
)
THOR_JETPACK_7_2 = RecordedState(
    machine=_machine(
        THOR_JETPACK_7,
        hwmon(1, "ina3221", ("VDD_GPU", 12040, 640), ("VDD_CPU_SOC_MSS", 12040, 960), ("VIN_SYS_5V0", 5088, 1740)),
        {
            "sys/class/hwmon/hwmon2/name": "ina238\n",
            "sys/class/hwmon/hwmon2/label": "VIN\n",
            "sys/class/hwmon/hwmon2/in0_input": "3\n",
            "sys/class/hwmon/hwmon2/in1_input": "19700\n",
            "sys/class/hwmon/hwmon2/curr1_input": "2050\n",
            "sys/class/hwmon/hwmon2/power1_input": "40385000\n",
        },
        over_current(4, 0, 8, 813),
        zones(109.0, tj_thermal=55.1, soc012_thermal=55.1, cpu_thermal=53.7, gpu_thermal=54.0),
        cooling(cpufreq_cpu0=0, pwm_fan=0, cpu_throttle_alert=0, gpu_throttle_alert=0, devfreq_gpu_gpc_0=0),
        clocks("gpu-gpc-0", 1575.0, 4266.0, 14, 2_601_000, bwmgr=True),
    ),
    line="08-08-2026 21:00:39 RAM 8353/125749MB (lfb 31x4MB) CPU [90%@2601,75%@2601,off,7%@2601] EMC_FREQ 34%@4266 "
    "GR3D_FREQ 87%@[1574,1574,1574] NVENC0_FREQ @1691 VIC off cpu@58.25C/61.75C tj@66.625C/66.625C gpu@56.937C/66.625C "
    "VDD_GPU -392mW/8660mW/37939mW VDD_CPU_SOC_MSS 30059mW/12281mW/30059mW VIN_SYS_5V0 15486mW/7424mW/15486mW "
    "VIN 124486mW/36487mW/124486mW FUTURE_TOKEN value",
    total_w=40.385,
    total_of=("VIN",),
    line_w=124.486,
    gpu_mhz=1575.0,
    emc_mhz=4266.0,
    hottest_c=55.1,
    trip_c=109.0,
    over_current={"oc1": 0, "oc2": 8, "oc3": 813},
    slowing=("cpufreq-cpu0", "cpu-throttle-alert", "gpu-throttle-alert", "devfreq-gpu-gpc-0"),
)
STATES = {
    "orin-nano-jetpack-6": ORIN_NANO_JETPACK_6,
    "orin-nx-jetpack-5": ORIN_NX_JETPACK_5,
    "agx-orin-jetpack-5": AGX_ORIN_JETPACK_5,
    "agx-orin-jetpack-7": AGX_ORIN_JETPACK_7,
    "xavier-nx-jetpack-5": XAVIER_NX_JETPACK_5,
    "agx-xavier-jetpack-5": AGX_XAVIER_JETPACK_5,
    "thor-jetpack-7": THOR_JETPACK_7_2,
}
# Files of a device that hold what they never should: each replaces a file of a sound one.
BROKEN_CONTENTS: Mapping[str, str | bytes] = {
    "empty": "",
    "blank": "\n\n",
    "binary": b"\xff\xfe\x00\x01\x80",
    "text": "warn 32760 ma\n",
    "huge": "9" * 18 + "\n",
    "absurd": "9" * 4000 + "\n",
    "fraction": "4.9\n",
    "exponent": "1e9\n",
    "not-ascii-digits": "\u0665\u0660\n",
}
