"""Which backend runs here, and why.

A backend is judged by what it needs: a GPU first, since that question costs nothing, then packages, which are imported.
``auto`` takes TensorRT, or TensorRT-RTX on a card that it serves, and ONNX Runtime on the CPU where neither runs.
ONNX Runtime's own GPU providers are used where they are asked for: which of them beats the CPU at batch 1 is for
`agfedge-runtime profile` to say.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from agfedge_runtime.errors import BackendError, MissingPackageError
from agfedge_runtime.machine.gpus import Gpu, GpuSearch, find_gpus
from agfedge_runtime.machine.jetson import numbers_of
from agfedge_runtime.machine.packages import Package, find_package, find_providers

AUTO = "auto"
# What `auto` tries, best first.
PREFERRED = ("tensorrt", "tensorrt_rtx", "onnxruntime")

TENSORRT_SINCE = (8, 5)
# TensorRT-RTX builds for these alone: Turing, Ampere and Ada cards, and Blackwell's 12.x.
_RTX_CAPABILITIES = ((7, 5), (8, 0), (8, 6), (8, 9))
_RTX_MAJOR = 12

_INSTALL_CPU = "pip install onnxruntime"


class Installed:
    """What this machine offers a backend; each is asked for once, when it is first needed.

    Args:
        package: finds a package by its name.
        providers: finds ONNX Runtime's execution providers.
        gpus: finds the GPUs; `find_gpus` by default.
    """

    def __init__(
        self,
        package: Callable[[str], Package] = find_package,
        providers: Callable[[], tuple[str, ...]] = find_providers,
        gpus: Callable[[], GpuSearch] | None = None,
    ) -> None:
        self._find_package = package
        self._find_providers = providers
        self._find_gpus = find_gpus if gpus is None else gpus
        self._packages: dict[str, Package] = {}

    @cached_property
    def search(self) -> GpuSearch:
        """The GPUs, or why there are none."""
        return self._find_gpus()

    @cached_property
    def providers(self) -> tuple[str, ...]:
        """ONNX Runtime's execution providers."""
        return self._find_providers()

    def package(self, name: str) -> Package:
        """A package, by its module's name."""
        if name not in self._packages:
            self._packages[name] = self._find_package(name)
        return self._packages[name]


@dataclass(frozen=True)
class Verdict:
    """Whether a backend can run here.

    Attributes:
        backend: its name.
        usable: whether it can.
        reason: what it runs on, or what stands against it; one line.
        missing: the packages (or ONNX Runtime's providers) to install first.
    """

    backend: str
    usable: bool
    reason: str
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class BackendChoice:
    """A backend, and why it was chosen.

    Attributes:
        backend: a backend's name.
        reason: one line.
        automatic: whether it was left to `choose_backend`.
        verdicts: of the backends that were judged for it.
    """

    backend: str
    reason: str
    automatic: bool
    verdicts: tuple[Verdict, ...] = field(default=(), repr=False)


def choose_backend(backend: str = AUTO, installed: Installed | None = None) -> BackendChoice:
    """Choose what runs a bundle.

    Args:
        backend: a backend's name, which is taken as it is; or ``auto``.
        installed: what this machine offers.

    Raises:
        BackendError: there is no such backend.
        MissingPackageError: none can run here.
    """
    known = [AUTO, *JUDGES]
    if backend not in known:
        raise BackendError(f"got the backend {backend!r}, expected one of {', '.join(known)}")
    if backend != AUTO:
        return BackendChoice(backend, "it was asked for", automatic=False)
    here = Installed() if installed is None else installed
    verdicts: list[Verdict] = []
    for name in PREFERRED:
        verdicts.append(judge(name, here))
        if verdicts[-1].usable:
            return BackendChoice(name, _because(verdicts), automatic=True, verdicts=tuple(verdicts))
    raise MissingPackageError(f"no backend can run here ({_against(verdicts)}): {_INSTALL_CPU}")


def judge(backend: str, installed: Installed) -> Verdict:
    """Say whether a backend can run here.

    Args:
        backend: its name.
        installed: what this machine offers.
    """
    return JUDGES[backend](backend, installed)


def _because(verdicts: list[Verdict]) -> str:
    *passed_over, chosen = verdicts
    return f"{chosen.reason}; {_against(passed_over)}" if passed_over else chosen.reason


def _against(verdicts: list[Verdict]) -> str:
    """What stands against backends; where there is no GPU that is one reason for several."""
    names: dict[str, list[str]] = {}
    for each in verdicts:
        names.setdefault(each.reason, []).append(each.backend)
    return "; ".join(f"not {' or '.join(backends)}: {reason}" for reason, backends in names.items())


def _judge_tensorrt(backend: str, installed: Installed) -> Verdict:
    search = installed.search
    if not search.gpus:
        return Verdict(backend, False, search.problem)
    gpu = search.gpus[0]
    if backend == "tensorrt_rtx" and not serves_rtx(gpu):
        return Verdict(backend, False, f"it does not serve {described(gpu)}")
    library, pycuda = installed.package(backend), installed.package("pycuda")
    absent = [each for each in (library, pycuda) if each.problem]
    if absent:
        return Verdict(
            backend, False, " and ".join(each.problem for each in absent), tuple(each.name for each in absent)
        )
    if backend == "tensorrt" and numbers_of(library.version) < TENSORRT_SINCE:
        return Verdict(backend, False, f"got TensorRT {library.version}, expected 8.5 or later")
    return Verdict(backend, True, f"{backend} {library.version} and pycuda {pycuda.version} on {described(gpu)}")


def _judge_cpu(backend: str, installed: Installed) -> Verdict:
    package = installed.package("onnxruntime")
    if package.problem:
        return Verdict(backend, False, package.problem, ("onnxruntime",))
    return Verdict(backend, True, f"ONNX Runtime {package.version} on the CPU")


def _judge_provider(backend: str, installed: Installed) -> Verdict:
    search = installed.search
    if not search.gpus:
        return Verdict(backend, False, search.problem)
    package = installed.package("onnxruntime")
    if package.problem:
        return Verdict(backend, False, package.problem, ("onnxruntime-gpu",))
    provider = PROVIDERS[backend]
    if provider not in installed.providers:
        reason = f"ONNX Runtime {package.version} here has no {provider}"
        return Verdict(backend, False, reason, ("onnxruntime-gpu",))
    return Verdict(backend, True, f"ONNX Runtime {package.version} with its {provider} on {described(search.gpus[0])}")


def serves_rtx(gpu: Gpu) -> bool:
    """Whether TensorRT-RTX builds for a GPU: never a Jetson's."""
    return gpu.compute_capability in _RTX_CAPABILITIES or gpu.compute_capability[0] == _RTX_MAJOR


def described(gpu: Gpu) -> str:
    """A GPU in a few words."""
    return f"{gpu.name} (compute capability {'.'.join(map(str, gpu.compute_capability))})"


PROVIDERS: Mapping[str, str] = {
    "onnxruntime-cuda": "CUDAExecutionProvider",
    "onnxruntime-tensorrt": "TensorrtExecutionProvider",
}
JUDGES: Mapping[str, Callable[[str, Installed], Verdict]] = {
    "onnxruntime": _judge_cpu,
    "onnxruntime-cuda": _judge_provider,
    "onnxruntime-tensorrt": _judge_provider,
    "tensorrt": _judge_tensorrt,
    "tensorrt_rtx": _judge_tensorrt,
}
