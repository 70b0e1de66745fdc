"""What this machine has, what would run a bundle on it and why, and how to install what is missing."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from agfedge_runtime.errors import MissingPackageError
from agfedge_runtime.machine.backends import JUDGES, BackendChoice, Installed, Verdict, choose_backend, judge
from agfedge_runtime.machine.gpus import Gpu, GpuSearch, find_gpus
from agfedge_runtime.machine.jetson import jetpack_of, numbers_of
from agfedge_runtime.machine.machine import Command, Machine, read_machine
from agfedge_runtime.machine.packages import Importer, Package, find_package, find_providers

# The packages that are looked for, and what people call them.
PACKAGES = {
    "numpy": "NumPy",
    "onnxruntime": "ONNX Runtime",
    "tensorrt": "TensorRT",
    "tensorrt_rtx": "TensorRT-RTX",
    "pycuda": "pycuda",
}
_UNKNOWN = "not known"
# The first with Python 3.8.
_OLDEST_JETPACK = (5,)
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


@dataclass(frozen=True)
class Report:
    """What a machine has and what it would use.

    Attributes:
        machine: what it is.
        search: its GPUs.
        packages: those of `PACKAGES`, imported or not.
        providers: ONNX Runtime's execution providers.
        verdicts: of every backend.
        choice: what ``auto`` takes; None where nothing can run.
        problem: why nothing can run; empty where something can.
        install: how to get what is missing.
        notes: what looks wrong, a line each.
    """

    machine: Machine
    search: GpuSearch
    packages: tuple[Package, ...]
    providers: tuple[str, ...]
    verdicts: tuple[Verdict, ...]
    choice: BackendChoice | None
    problem: str
    install: tuple[Remedy, ...]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, object]:
        """The report as plain values, for JSON."""
        document = dataclasses.asdict(self)
        document["gpu"] = document.pop("search")
        document["backends"] = document.pop("verdicts")
        chosen = None if self.choice is None else {"backend": self.choice.backend, "reason": self.choice.reason}
        return {**document, "choice": chosen}

    def lines(self) -> list[str]:
        """The report for people."""
        facts = list(_facts(self))
        width = max(len(name) for name, _ in facts)
        wide = max(len(each.backend) for each in self.verdicts)
        lines = [f"{name:{width}}  {value}" for name, value in facts]
        lines += ["", f"{'backend':{wide}}  runs  why"]
        lines += [f"{each.backend:{wide}}  {'yes' if each.usable else 'no':4}  {each.reason}" for each in self.verdicts]
        lines += ["", f"auto: {self.problem}" if self.choice is None else f"auto: {self.choice.backend}"]
        if self.choice is not None:
            lines += [f"  {part}" for part in self.choice.reason.split("; ")]
        if self.install:
            lines += ["", "to install what is missing:"]
            lines += [f"  {each.package} (for {', '.join(each.backends)}): {each.command}" for each in self.install]
        if self.notes:
            lines += ["", *(f"note: {note}" for note in self.notes)]
        return lines


def check(
    root: Path = Path("/"),
    importer: Importer = importlib.import_module,
    gpus: Callable[[], GpuSearch] = find_gpus,
    command: Command | None = None,
) -> Report:
    """Look at this machine; nothing is changed, no engine is made, and what is missing raises nothing.

    Args:
        root: where its file system begins.
        importer: stands in for `importlib.import_module`.
        gpus: finds its GPUs.
        command: runs a program, see `read_machine`.
    """
    machine = read_machine(root, command)
    installed = Installed(
        package=lambda name: find_package(name, importer), providers=lambda: find_providers(importer), gpus=gpus
    )
    verdicts = tuple(judge(name, installed) for name in JUDGES)
    choice, problem = None, ""
    try:
        choice = choose_backend(installed=installed)
    except MissingPackageError as error:
        problem = str(error)
    return Report(
        machine=machine,
        search=installed.search,
        packages=tuple(installed.package(name) for name in PACKAGES),
        providers=installed.providers,
        verdicts=verdicts,
        choice=choice,
        problem=problem,
        install=remedies(verdicts, machine, installed.search),
        notes=tuple(_notes(machine, installed)),
    )


def check_here() -> Report:
    """Look at this machine, as a host asks for it."""
    return check()


def _facts(report: Report) -> Iterator[tuple[str, str]]:
    machine = report.machine
    yield "module", _module(machine)
    yield "system", _joined(machine.system, machine.l4t and f"L4T {machine.l4t}", f"Python {machine.python}")
    yield "JetPack", machine.jetpack or ("not known" if machine.is_jetson else "none: this is no Jetson")
    yield "processors", f"{machine.processors} ({machine.architecture})"
    yield "memory", _memory(machine)
    yield "power mode", _power_mode(machine)
    for gpu in report.search.gpus:
        yield "GPU", _gpu(gpu)
    if not report.search.gpus:
        yield "GPU", f"none: {report.search.problem}"
    yield "CUDA", _cuda(report)
    for package in report.packages:
        yield PACKAGES[package.name], package.version or f"none: {package.problem}"
        if package.name == "onnxruntime" and package.version:
            yield "  providers", ", ".join(report.providers) or "none"


def _module(machine: Machine) -> str:
    if machine.model is None:
        return "none: there is no device tree" if not machine.is_jetson else _UNKNOWN
    about = "" if machine.part is None else f" ({machine.part}, device profile {machine.profile})"
    return machine.model + about


def _memory(machine: Machine) -> str:
    if machine.memory_mib is None:
        return _UNKNOWN
    free = "" if machine.free_mib is None else f", {machine.free_mib / 1024:.1f} GiB of it available"
    return f"{machine.memory_mib / 1024:.1f} GiB{free}"


def _power_mode(machine: Machine) -> str:
    if machine.power_mode is None:
        return _UNKNOWN if machine.is_jetson else "none: this is no Jetson"
    return f"{machine.power_mode.number} {machine.power_mode.name}".rstrip()


def _gpu(gpu: Gpu) -> str:
    capability = ".".join(map(str, gpu.compute_capability))
    shared = ", shared with the processor" if gpu.integrated else ""
    return (
        f"{gpu.name}, compute capability {capability}, {gpu.multiprocessors} SMs, "
        f"{gpu.memory_mib / 1024:.1f} GiB{shared}"
    )


def _cuda(report: Report) -> str:
    machine, driver = report.machine, report.search.driver_cuda
    toolkit = f"toolkit {machine.cuda or _UNKNOWN}" if machine.cuda or machine.nvcc else "no toolkit"
    return _joined(
        f"driver for {driver}" if driver else "no driver",
        toolkit,
        f"nvcc in {machine.nvcc}" if machine.nvcc else "no nvcc",
    )


def _joined(*parts: str | None) -> str:
    return ", ".join(part for part in parts if part)


def _notes(machine: Machine, installed: Installed) -> Iterator[str]:
    yield from machine.problems
    if machine.is_jetson and not installed.search.gpus:
        yield f"this Jetson's GPU cannot be used ({installed.search.problem}); start a container with --runtime nvidia"
    if machine.l4t is None:
        return
    release = jetpack_of(machine.l4t)
    if release is None or numbers_of(release.version) < _OLDEST_JETPACK:
        yield f"got L4T {machine.l4t}, expected JetPack 5 (L4T 35) or later; flash the module anew"
        return
    found, shipped = installed.package("tensorrt").version, numbers_of(release.tensorrt)
    if found and numbers_of(found)[: len(shipped)] != shipped:
        yield f"TensorRT is {found}, but JetPack {release.version} ships {release.tensorrt}: its driver may refuse it"
