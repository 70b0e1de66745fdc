"""Machines as their files tell of them, and what Python can import there.

First lines of release files, device trees and printed power modes are as such devices print them; memory, packages and
GPUs are those of a plausible installation.
"""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from agfedge_runtime.machine.check import Report, check
from agfedge_runtime.machine.gpus import Gpu, GpuSearch

NO_DRIVER = GpuSearch((), "", "no CUDA driver: libcuda.so.1: cannot open shared object file: No such file or directory")
UBUNTU = {
    "20.04": 'NAME="Ubuntu"\nPRETTY_NAME="Ubuntu 20.04.6 LTS"\n',
    "22.04": 'PRETTY_NAME="Ubuntu 22.04.5 LTS"\nNAME="Ubuntu"\n',
    "24.04": 'PRETTY_NAME="Ubuntu 24.04.3 LTS"\nNAME="Ubuntu"\n',
}


@dataclass(frozen=True)
class RecordedMachine:
    """A machine that a test can stand on.

    Attributes:
        files: text or bytes by path, without the leading slash.
        gpus: what its CUDA driver says.
        modules: version by name of what Python can import, or the error that importing raises.
        providers: ONNX Runtime's, where it is there.
        says: what programs print, by their path.
    """

    files: Mapping[str, str | bytes] = field(default_factory=dict)
    gpus: GpuSearch = NO_DRIVER
    modules: Mapping[str, str | Exception] = field(default_factory=dict)
    providers: tuple[str, ...] = ("CPUExecutionProvider",)
    says: Mapping[str, str] = field(default_factory=dict)

    def write(self, root: Path) -> Path:
        """Lays its files down under `root`."""
        for name, content in self.files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return root

    def command(self, argv: Sequence[str]) -> str | None:
        """Stands in for running a program."""
        return self.says.get(argv[0])

    def importer(self, name: str) -> types.ModuleType:
        """Stands in for `importlib.import_module`."""
        package = name.split(".")[0]
        found = self.modules.get(package)
        if found is None:
            raise ModuleNotFoundError(f"No module named {package!r}", name=package)
        if isinstance(found, Exception):
            raise found
        module = types.ModuleType(name)
        if package == "pycuda":
            module.VERSION_TEXT = found
        else:
            module.__version__ = found
        module.get_available_providers = lambda: list(self.providers)
        return module

    def check(self, root: Path) -> Report:
        """The report of the machine, whose files go under `root`."""
        return check(self.write(root), self.importer, lambda: self.gpus, self.command)


def _meminfo(total_kib: int, free_kib: int) -> str:
    return f"MemTotal:       {total_kib} kB\nMemFree:         {free_kib // 2} kB\nMemAvailable:    {free_kib} kB\n"


def _search(name: str, capability: tuple[int, int], sms: int, mib: int, integrated: bool, cuda: str) -> GpuSearch:
    return GpuSearch((Gpu(name, capability, sms, mib, integrated),), cuda, "")


ORIN_NANO_JETPACK_6_2 = RecordedMachine(
    files={
        "proc/device-tree/model": "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super\0",
        "proc/device-tree/compatible": "nvidia,p3768-0000+p3767-0005-super\0nvidia,p3767-0005\0nvidia,tegra234\0",
        "etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, "
        "DATE: Wed Jan  8 01:49:37 UTC 2025\n# KERNEL_VARIANT: oot\nTARGET_USERSPACE_LIB_DIR=nvidia\n",
        "etc/os-release": UBUNTU["22.04"],
        "proc/meminfo": _meminfo(7_803_084, 5_953_536),
        "usr/local/cuda/version.json": '{"cuda": {"name": "CUDA SDK", "version": "12.6.68"}}',
        "usr/local/cuda/bin/nvcc": "",
        "usr/sbin/nvpmodel": "",
        "usr/lib/python3.10/dist-packages/tensorrt/__init__.py": "",
        "var/lib/dpkg/status": "Package: adduser\nStatus: install ok installed\nVersion: 3.118ubuntu5\n\n"
        "Package: nvidia-jetpack\nStatus: install ok installed\nPriority: standard\nVersion: 6.2+b77\n",
    },
    gpus=_search("Orin", (8, 7), 8, 7619, True, "12.6"),
    modules={"numpy": "1.26.4", "onnxruntime": "1.20.1", "tensorrt": "10.3.0", "pycuda": "2024.1.2"},
    providers=("TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"),
    says={"/usr/sbin/nvpmodel": "NV Power Mode: MAXN_SUPER\n2\n"},
)
# In a virtual environment of its own, which the system's TensorRT is not part of.
AGX_ORIN_JETPACK_5_1 = RecordedMachine(
    files={
        "proc/device-tree/model": "NVIDIA Jetson AGX Orin Developer Kit\0",
        "proc/device-tree/compatible": "nvidia,p3737-0000+p3701-0005\0nvidia,tegra234\0nvidia,tegra23x\0",
        "etc/nv_tegra_release": "# R35 (release), REVISION: 4.1, GCID: 33958178, BOARD: t186ref, EABI: aarch64, "
        "DATE: Tue Aug  1 19:57:35 UTC 2023\n",
        "etc/os-release": UBUNTU["20.04"],
        "proc/meminfo": _meminfo(64_337_668, 60_112_004),
        "usr/local/cuda/version.json": '{"cuda": {"name": "CUDA SDK", "version": "11.4.19"}}',
        "usr/local/cuda/bin/nvcc": "",
        "usr/sbin/nvpmodel": "",
        "usr/lib/python3.8/dist-packages/tensorrt/__init__.py": "",
        "var/lib/nvpmodel/status": "pmode:0003 fmode:quiet\n",
        "etc/nvpmodel.conf": "< POWER_MODEL ID=0 NAME=MAXN >\nCPU_ONLINE CORE_0 1\n"
        "< POWER_MODEL ID=3 NAME=MODE_50W >\n",
    },
    gpus=_search("Orin", (8, 7), 16, 62_829, True, "11.4"),
    modules={"numpy": "1.24.4", "onnxruntime": "1.19.2"},
)
# Flashed, and nothing more than ONNX Runtime installed: no CUDA toolkit, no TensorRT.
XAVIER_NX_JETPACK_5_1 = RecordedMachine(
    files={
        "proc/device-tree/model": "NVIDIA Jetson Xavier NX Developer Kit\0",
        "proc/device-tree/compatible": "nvidia,p3509-0000+p3668-0000\0nvidia,p3668-0000\0nvidia,tegra194\0",
        "etc/nv_tegra_release": "# R35 (release), REVISION: 3.1, GCID: 32827747, BOARD: t186ref, EABI: aarch64, "
        "DATE: Sun Mar 19 15:19:21 UTC 2023\n",
        "etc/os-release": UBUNTU["20.04"],
        "proc/meminfo": _meminfo(7_119_936, 5_000_000),
        "usr/sbin/nvpmodel": "",
    },
    gpus=_search("Xavier", (7, 2), 6, 6953, True, "11.4"),
    modules={"numpy": "1.21.6", "onnxruntime": "1.19.2"},
    says={"/usr/sbin/nvpmodel": "NVPM WARN: fan mode is not set!\nNV Power Mode: MODE_20W_6CORE\n8\n"},
)
THOR_JETPACK_7 = RecordedMachine(
    files={
        "proc/device-tree/model": "NVIDIA Jetson AGX Thor Developer Kit\0",
        "proc/device-tree/compatible": "nvidia,p4071-0000+p3834-0008\0nvidia,p3834-0008\0nvidia,tegra264\0",
        "etc/nv_tegra_release": "# R38 (release), REVISION: 2.2, GCID: 42205042, BOARD: generic, EABI: aarch64, "
        "DATE: Thu Sep 25 22:47:11 UTC 2025\n# KERNEL_VARIANT: oot\n",
        "etc/os-release": UBUNTU["24.04"],
        "proc/meminfo": _meminfo(128_790_560, 120_000_000),
        "usr/local/cuda/version.json": '{"cuda": {"name": "CUDA SDK", "version": "13.0.48"}}',
        "usr/local/cuda/bin/nvcc": "",
        "usr/sbin/nvpmodel": "",
    },
    gpus=_search("NVIDIA Thor", (11, 0), 20, 125_772, True, "13.0"),
    modules={"numpy": "2.3.4", "onnxruntime": "1.23.2", "tensorrt": "10.13.3.9"},
    says={"/usr/sbin/nvpmodel": "NV Power Mode: 120W\n1\n"},
)
RTX_WORKSTATION = RecordedMachine(
    files={"etc/os-release": UBUNTU["24.04"], "proc/meminfo": _meminfo(131_000_000, 99_000_000)},
    gpus=_search("NVIDIA GeForce RTX 4090", (8, 9), 128, 24_080, False, "12.8"),
    modules={"numpy": "2.3.4", "onnxruntime": "1.23.2", "tensorrt_rtx": "1.2.0.54", "pycuda": "2025.1"},
)
# A card of a data centre, and Python without anything for it.
BARE_WORKSTATION = RecordedMachine(
    files={"etc/os-release": UBUNTU["24.04"]},
    gpus=_search("NVIDIA H100 80GB HBM3", (9, 0), 132, 81_079, False, "13.0"),
    modules={"numpy": "2.3.4"},
)
NOTHING = RecordedMachine()
BROKEN = RecordedMachine(
    files={
        "proc/device-tree/model": b"\xff\xfe\x00NVIDIA\x07 Jetson\x00",
        "proc/device-tree/compatible": b"\x00\xffnvidia,tegra234",
        "etc/nv_tegra_release": "# R (release), REVISION: ,\n\x1b[31m",
        "etc/os-release": "PRETTY_NAME\n=\n",
        "proc/meminfo": "MemTotal: lots kB\n",
        "usr/local/cuda/version.json": '{"cuda": [',
        "usr/sbin/nvpmodel": "",
        "var/lib/nvpmodel/status": "pmode:\n",
        "etc/nvpmodel.conf": "< POWER_MODEL ID= NAME= >",
        "var/lib/dpkg/status": "Package: nvidia-jetpack\nStatus: deinstall ok config-files\nVersion: 6.0+b106\n"
        "\n\n\n\n",
    },
    gpus=GpuSearch((), "", "libcuda.so.1 has no cuInit; it is no CUDA driver"),
    modules={
        "numpy": "2.3.4",
        "onnxruntime": "",
        "tensorrt": ImportError("libnvinfer.so.10: cannot open shared object file:\nNo such file or directory"),
        "pycuda": RuntimeError(),
    },
    says={"/usr/sbin/nvpmodel": "NV Power Mode: \nnone\n"},
)
MACHINES = {
    "orin-nano-jetpack-6.2": ORIN_NANO_JETPACK_6_2,
    "agx-orin-jetpack-5.1": AGX_ORIN_JETPACK_5_1,
    "xavier-nx-jetpack-5.1": XAVIER_NX_JETPACK_5_1,
    "thor-jetpack-7": THOR_JETPACK_7,
    "rtx-workstation": RTX_WORKSTATION,
    "bare-workstation": BARE_WORKSTATION,
    "nothing": NOTHING,
    "broken": BROKEN,
}
