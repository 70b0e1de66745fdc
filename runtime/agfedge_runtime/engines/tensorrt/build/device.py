"""The device that an engine is built for, as far as it decides whether a plan fits."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from agfedge_runtime.machine.gpus import GpuSearch, find_gpus
from agfedge_runtime.machine.jetson import parse_l4t

_MIB = 2**20
_AVAILABLE = re.compile(r"^MemAvailable:\s+(\d+) kB$", re.MULTILINE)


@dataclass(frozen=True)
class Device:
    """What a plan depends on besides its graph.

    Attributes:
        gpu: its name; empty where there is none.
        compute_capability: as ``8.7``; empty where there is no GPU.
        multiprocessors: how many the GPU has in its power mode.
        integrated: whether the GPU shares its memory with the CPU.
        module: a Jetson's module as its device tree calls it; empty elsewhere.
        l4t: a Jetson's release, as ``36.4.3``; empty elsewhere.
    """

    gpu: str = ""
    compute_capability: str = ""
    multiprocessors: int = 0
    integrated: bool = False
    module: str = ""
    l4t: str = ""


def find_device(root: Path = Path("/"), search: Callable[[], GpuSearch] = find_gpus) -> Device:
    """Look at this machine; never raises.

    Args:
        root: the folder in which ``proc`` and ``etc`` lie.
        search: asks for the GPUs; the first is used.
    """
    module = _text(root / "proc/device-tree/model").rstrip("\0").strip()
    l4t = parse_l4t(_text(root / "etc/nv_tegra_release")) or ""
    gpus = search().gpus
    if not gpus:
        return Device(module=module, l4t=l4t)
    gpu = gpus[0]
    capability = ".".join(map(str, gpu.compute_capability))
    return Device(gpu.name, capability, gpu.multiprocessors, gpu.integrated, module, l4t)


def free_memory_mib(
    device: Device, root: Path = Path("/"), load: Callable[[str], ctypes.CDLL] = ctypes.CDLL
) -> int | None:
    """MiB of memory that a builder could have now; None where it is not known.

    On a module the page cache counts as free, which the CUDA driver does not see.

    Args:
        device: whose memory.
        root: the folder in which ``proc`` lies.
        load: opens a shared library; raises OSError where it cannot.
    """
    if not device.gpu:
        return None
    if device.integrated:
        found = _AVAILABLE.search(_text(root / "proc/meminfo"))
        return None if found is None else int(found.group(1)) // 1024
    return _free_on_card_mib(load)


def _free_on_card_mib(load: Callable[[str], ctypes.CDLL]) -> int | None:
    """What the CUDA driver calls free, asked in the first GPU's primary context, which is given back."""
    try:
        driver = load("libcuda.so.1")
        device, context, free, total = ctypes.c_int(), ctypes.c_void_p(), ctypes.c_size_t(), ctypes.c_size_t()
        if driver.cuInit(0) or driver.cuDeviceGet(ctypes.byref(device), 0):
            return None
        if driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), device):
            return None
        try:
            failed = driver.cuCtxPushCurrent_v2(context)
            if failed:
                return None
            failed = driver.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total))
            driver.cuCtxPopCurrent_v2(ctypes.byref(context))
        finally:
            driver.cuDevicePrimaryCtxRelease_v2(device)
    except (OSError, AttributeError):
        return None
    return None if failed else free.value // _MIB


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
