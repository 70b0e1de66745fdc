"""GPUs are asked for through the CUDA driver's own library; what it answers, nothing is raised."""

from __future__ import annotations

import ctypes

import pytest

from agfedge_runtime.machine.gpus import Gpu, find_gpus


class FakeDriver:
    """A CUDA driver with one Orin; `fails` gives the error codes of functions."""

    def __init__(self, count: int = 1, **fails: int) -> None:
        self.count = count
        self.fails = fails
        self.attributes = {16: 8, 18: 1, 75: 8, 76: 7}

    def cuInit(self, flags: int) -> int:  # noqa: N802
        assert flags == 0
        return self.fails.get("cuInit", 0)

    def cuGetErrorString(self, code: int, text) -> int:  # noqa: N802
        text._obj.value = b"driver combination" if code == 803 else None
        return 0

    def cuDriverGetVersion(self, version) -> int:  # noqa: N802
        version._obj.value = 12060
        return self.fails.get("cuDriverGetVersion", 0)

    def cuDeviceGetCount(self, count) -> int:  # noqa: N802
        count._obj.value = self.count
        return 0

    def cuDeviceGet(self, device, index: int) -> int:  # noqa: N802
        device._obj.value = index
        return 0

    def cuDeviceGetName(self, name, length: int, device) -> int:  # noqa: N802
        ctypes.memmove(name, b"Orin\0", 5)
        return 0

    def cuDeviceTotalMem_v2(self, memory, device) -> int:  # noqa: N802
        memory._obj.value = 7619 * 2**20
        return self.fails.get("cuDeviceTotalMem_v2", 0)

    def cuDeviceGetAttribute(self, value, which: int, device) -> int:  # noqa: N802
        value._obj.value = self.attributes[which]
        return 0


def test_a_gpu_is_described():
    found = find_gpus(lambda name: FakeDriver())
    assert found.gpus == (Gpu("Orin", (8, 7), 8, 7619, True),)
    assert (found.driver_cuda, found.problem) == ("12.6", "")


def test_no_driver():
    def missing(name: str) -> ctypes.CDLL:
        raise OSError(f"{name}: cannot open shared object file: No such file or directory")

    found = find_gpus(missing)
    assert found.gpus == ()
    assert found.problem == "no CUDA driver: libcuda.so.1: cannot open shared object file: No such file or directory"


@pytest.mark.parametrize(
    ("driver", "problem"),
    [
        (FakeDriver(count=0), "the CUDA driver has no GPU for this process"),
        (FakeDriver(cuInit=100), "the CUDA driver has no GPU for this process"),
        (FakeDriver(cuInit=803), "the CUDA driver's cuInit failed with error 803 (driver combination)"),
        (FakeDriver(cuInit=999), "the CUDA driver's cuInit failed with error 999"),
        (FakeDriver(cuDeviceTotalMem_v2=1), "the CUDA driver's cuDeviceTotalMem_v2 failed with error 1"),
        (object(), "libcuda.so.1 has no cuDriverGetVersion; it is no CUDA driver"),
    ],
)
def test_a_driver_that_has_nothing_says_why(driver, problem):
    found = find_gpus(lambda name: driver)
    assert (found.gpus, found.problem) == ((), problem)


def test_the_driver_of_this_machine_is_asked_without_an_error():
    found = find_gpus()
    assert bool(found.gpus) != bool(found.problem)
