"""The GPUs that the CUDA driver knows, asked through ctypes: nothing has to be installed for it, no context is made.

Source: the CUDA driver API, https://docs.nvidia.com/cuda/cuda-driver-api, its functions of devices and versions.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass

_LIBRARY = "libcuda.so.1"
_NO_DEVICE = 100
# CUdevice_attribute.
_MULTIPROCESSORS, _INTEGRATED, _CAPABILITY_MAJOR, _CAPABILITY_MINOR = 16, 18, 75, 76


@dataclass(frozen=True)
class Gpu:
    """One GPU.

    Attributes:
        name: as its driver calls it.
        compute_capability: as (8, 7).
        multiprocessors: how many.
        memory_mib: all of it; on a Jetson that of the module.
        integrated: whether it shares its memory with the CPU.
    """

    name: str
    compute_capability: tuple[int, int]
    multiprocessors: int
    memory_mib: int
    integrated: bool


@dataclass(frozen=True)
class GpuSearch:
    """What a search found.

    Attributes:
        gpus: those that this process may use.
        driver_cuda: the latest CUDA version that the driver runs, as ``12.6``; empty where there is no driver.
        problem: why there are no GPUs, in one line; empty where there are.
    """

    gpus: tuple[Gpu, ...]
    driver_cuda: str
    problem: str


class _DriverError(Exception):
    pass


def find_gpus(load: Callable[[str], ctypes.CDLL] = ctypes.CDLL) -> GpuSearch:
    """Ask the CUDA driver for its GPUs; never raises.

    Args:
        load: opens a shared library; raises OSError where it cannot.
    """
    try:
        library = load(_LIBRARY)
    except OSError as error:
        return GpuSearch((), "", f"no CUDA driver: {' '.join(str(error).split())}")
    driver_cuda = ""
    try:
        driver_cuda = _driver_cuda(library)
        _call(library, "cuInit", 0)
        gpus = tuple(_gpu(library, index) for index in range(_number(library, "cuDeviceGetCount")))
    except _DriverError as error:
        return GpuSearch((), driver_cuda, str(error))
    return GpuSearch(gpus, driver_cuda, "" if gpus else "the CUDA driver has no GPU for this process")


def _driver_cuda(library: ctypes.CDLL) -> str:
    version = _number(library, "cuDriverGetVersion")
    return f"{version // 1000}.{version % 1000 // 10}"


def _gpu(library: ctypes.CDLL, index: int) -> Gpu:
    device = ctypes.c_int()
    _call(library, "cuDeviceGet", ctypes.byref(device), index)
    name = ctypes.create_string_buffer(256)
    _call(library, "cuDeviceGetName", name, len(name), device)
    memory = ctypes.c_size_t()
    _call(library, "cuDeviceTotalMem_v2", ctypes.byref(memory), device)
    return Gpu(
        name=name.value.decode("utf-8", "replace"),
        compute_capability=(
            _attribute(library, _CAPABILITY_MAJOR, device),
            _attribute(library, _CAPABILITY_MINOR, device),
        ),
        multiprocessors=_attribute(library, _MULTIPROCESSORS, device),
        memory_mib=memory.value // 2**20,
        integrated=bool(_attribute(library, _INTEGRATED, device)),
    )


def _attribute(library: ctypes.CDLL, which: int, device: ctypes.c_int) -> int:
    return _number(library, "cuDeviceGetAttribute", which, device)


def _number(library: ctypes.CDLL, function: str, *arguments: object) -> int:
    value = ctypes.c_int()
    _call(library, function, ctypes.byref(value), *arguments)
    return value.value


def _call(library: ctypes.CDLL, function: str, *arguments: object) -> None:
    try:
        code = int(getattr(library, function)(*arguments))
    except AttributeError as error:
        raise _DriverError(f"{_LIBRARY} has no {function}; it is no CUDA driver") from error
    if code == _NO_DEVICE:
        raise _DriverError("the CUDA driver has no GPU for this process")
    if code:
        raise _DriverError(f"the CUDA driver's {function} failed with error {code}{_meaning(library, code)}")


def _meaning(library: ctypes.CDLL, code: int) -> str:
    text = ctypes.c_char_p()
    try:
        library.cuGetErrorString(code, ctypes.byref(text))
    except AttributeError:
        return ""
    return f" ({text.value.decode('utf-8', 'replace')})" if text.value else ""
