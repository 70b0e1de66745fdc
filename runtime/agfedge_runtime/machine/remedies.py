"""How to install what is missing here: a command for each package, by machine."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from agfedge_runtime.machine.backends import Verdict
from agfedge_runtime.machine.gpus import GpuSearch
from agfedge_runtime.machine.jetson import jetpack_of, numbers_of
from agfedge_runtime.machine.machine import Machine

# Where NVIDIA's community keeps builds for Jetson of what the Python index has for other machines only.
_JETSON_WHEELS = "https://elinux.org/Jetson_Zoo#ONNX_Runtime"
# pycuda for CUDA 13: earlier releases do not compile with it.
_CUDA_13, _PYCUDA_13 = (13,), "'pycuda>=2025.1.2'"


@dataclass(frozen=True)
class Remedy:
    """What to install, and how.

    Attributes:
        package: what is missing.
        command: what installs it, or says where it is to be had.
        backends: those that need it.
    """

    package: str
    command: str
    backends: tuple[str, ...]


def remedies(verdicts: Iterable[Verdict], machine: Machine, search: GpuSearch) -> tuple[Remedy, ...]:
    """Say how to install what backends lack, each package once.

    Args:
        verdicts: of the backends.
        machine: where.
        search: its GPUs.
    """
    commands = {
        "onnxruntime": "pip install onnxruntime",
        "onnxruntime-gpu": _onnxruntime_gpu(machine),
        "tensorrt": _tensorrt(machine),
        "tensorrt_rtx": f"pip install tensorrt-rtx-cu{13 if numbers_of(search.driver_cuda) >= _CUDA_13 else 12}",
        "pycuda": _pycuda(machine, _toolkit(machine, search)),
    }
    needed: dict[str, list[str]] = {}
    for verdict in verdicts:
        for name in verdict.missing:
            needed.setdefault(name, []).append(verdict.backend)
    return tuple(Remedy(name, commands[name], tuple(backends)) for name, backends in needed.items())


def _onnxruntime_gpu(machine: Machine) -> str:
    if machine.is_jetson:
        return f"pip uninstall onnxruntime; then the onnxruntime-gpu wheel for this JetPack from {_JETSON_WHEELS}"
    return "pip uninstall onnxruntime; pip install onnxruntime-gpu"


def _tensorrt(machine: Machine) -> str:
    if machine.system_tensorrt is not None:
        return (
            f"the system's Python has it in {machine.system_tensorrt}, this one does not look there: "
            "/usr/bin/python3 -m venv --system-site-packages VENV"
        )
    if machine.is_jetson:
        return "sudo apt-get install python3-libnvinfer"
    return "pip install tensorrt"


def _pycuda(machine: Machine, toolkit: str) -> str:
    numbers = numbers_of(toolkit)
    package = _PYCUDA_13 if numbers >= _CUDA_13 else "pycuda"
    if machine.nvcc is not None:
        return f"PATH={machine.nvcc.rpartition('/')[0]}:$PATH pip install {package}"
    if machine.is_jetson and len(numbers) > 1:
        first = f"sudo apt-get install cuda-toolkit-{numbers[0]}-{numbers[1]}"
    else:
        first = f"install the CUDA toolkit {toolkit}".rstrip() + ", whose nvcc compiles it"
    return f"{first}; PATH=/usr/local/cuda/bin:$PATH pip install {package}"


def _toolkit(machine: Machine, search: GpuSearch) -> str:
    """The CUDA toolkit that pycuda is compiled with: the one that is here, else the one to install."""
    if machine.cuda is not None:
        return machine.cuda
    release = None if machine.l4t is None else jetpack_of(machine.l4t)
    return search.driver_cuda if release is None else release.cuda
