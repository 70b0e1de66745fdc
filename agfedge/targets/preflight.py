"""What a target must have before anything is shipped to it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from agfedge.targets.release import Release
from agfedge.targets.remote import call_anywhere
from agfedge.targets.target import DeployError, Target
from agfedge_runtime.machine.backends import AUTO, JUDGES, PREFERRED
from agfedge_runtime.machine.check import Report, check_here
from agfedge_runtime.releases import releases
from agfedge_runtime.releases.releases import TargetFacts

# A file system needs some room of its own beyond the files' bytes.
SPARE_BYTES = 16 * 2**20
# Of a module whose files say of no Jetson that there is a profile of.
GENERIC = "generic"
_CPU = "onnxruntime"
_GRAPH = re.compile(r"bundle/.*\.onnx$")
# Weights as the file has them, as the backend keeps them, and once more while an engine is built.
_COPIES = 3
# What Python, NumPy and a backend take before there are any weights.
_BASE_MIB = 256


@dataclass(frozen=True)
class Preflight:
    """Facts of a target that is fit for a release.

    Attributes:
        python: Version of its Python.
        architecture: Of its processor.
        packages: Versions of what a backend may use there, and of NumPy, by name.
        backend: What will run the release.
        free_bytes: Free space on its disk.
        free_mib: Memory that is available now, None where it is not told.
        model: What its device tree calls it.
        profile: Name of the device profile that describes it, ``generic`` where none does.
        jetpack: Version of its JetPack.
        power_mode: Name of its power mode.
        current: The release that runs there now, if any.
        notes: What is not as one would want it, a line each.
    """

    python: str
    architecture: str
    packages: Mapping[str, str]
    backend: str
    free_bytes: int
    free_mib: int | None
    model: str | None
    profile: str
    jetpack: str | None
    power_mode: str | None
    current: str | None
    notes: tuple[str, ...]

    @property
    def backend_version(self) -> str:
        """Version of the package that the backend is of."""
        return self.packages.get(self.backend.partition("-")[0], "")  # as onnxruntime-cuda is of onnxruntime

    def summary(self) -> str:
        """Return the facts in one line."""
        where = self.profile if self.model is None or self.profile != GENERIC else self.model
        system = [f"JetPack {self.jetpack}"] if self.jetpack else []
        mode = [self.power_mode] if self.power_mode else []
        memory = "" if self.free_mib is None else f"{self.free_mib / 1024:.1f} GiB of memory and "
        return (
            f"{self.backend} {self.backend_version} on {', '.join([where, *system, *mode])}; Python {self.python} "
            f"({self.architecture}); {memory}{self.free_bytes / 1e9:.1f} GB of disk free"
        )


def check_preflight(target: Target, release: Release, backend: str = AUTO) -> Preflight:
    """Ask a target what it has. Nothing is written there, and its folder need not be there.

    Args:
        target: Where.
        release: What is to be shipped.
        backend: What is to run it; ``auto`` for the best that can.

    Raises:
        DeployError: Something is missing; the message says how to get it.
    """
    facts = call_anywhere(target, releases.preflight, release.name)
    _check_current(facts)
    _check_numpy(facts)
    _check_space(facts, release)
    # From memory too: nothing has been shipped yet.
    report = call_anywhere(target, check_here)
    chosen = _backend(report, backend, facts.executable)
    machine, mode = report.machine, report.machine.power_mode
    return Preflight(
        python=facts.python,
        architecture=machine.architecture,
        packages={package.name: package.version for package in report.packages if package.version},
        backend=chosen,
        free_bytes=facts.free,
        free_mib=machine.free_mib,
        model=machine.model,
        profile=machine.profile or GENERIC,
        jetpack=machine.jetpack,
        power_mode=None if mode is None else mode.name or str(mode.number),
        current=facts.current,
        notes=(*report.notes, *_lacking(report, chosen, facts.executable), *_memory(report, release)),
    )


def _check_current(facts: TargetFacts) -> None:
    if facts.foreign_current:
        raise DeployError("`current` there was not made by a deploy; remove it, or give another folder")


def _check_numpy(facts: TargetFacts) -> None:
    if facts.numpy_problem is not None:
        raise DeployError(
            f"numpy cannot be imported there ({facts.numpy_problem}); "
            f"run there: {facts.executable} -m pip install numpy"
        )


def _check_space(facts: TargetFacts, release: Release) -> None:
    needed = release.size - facts.present + SPARE_BYTES
    if facts.free < needed:
        raise DeployError(f"{facts.free / 1e6:.0f} MB are free there; expected {needed / 1e6:.0f} MB: free some space")


def _backend(report: Report, asked: str, python: str) -> str:
    if asked == AUTO:
        if report.choice is not None:
            return report.choice.backend
        raise DeployError(f"no backend runs there ({_reason(report, _CPU)}){_remedy(report, _CPU, python)}")
    verdict = next((verdict for verdict in report.verdicts if verdict.backend == asked), None)
    if verdict is None:
        raise DeployError(f"got the backend {asked!r}, expected one of {', '.join((AUTO, *JUDGES))}")
    if not verdict.usable:
        raise DeployError(f"{asked} does not run there: {verdict.reason}{_remedy(report, asked, python)}")
    return asked


def _lacking(report: Report, chosen: str, python: str) -> Iterator[str]:
    """Tell what keeps a GPU that is there from being used."""
    has_gpu = report.machine.is_jetson or bool(report.search.gpus)
    best = PREFERRED[0]
    # Where nothing can use the GPU the machine's own notes say why.
    if has_gpu and chosen == _CPU and not any(_reason(report, best) in note for note in report.notes):
        yield f"the CPU decides, since {best} does not run: {_reason(report, best)}{_remedy(report, best, python)}"


def _memory(report: Report, release: Release) -> Iterator[str]:
    weights = sum(file.size for name, file in release.files.items() if _GRAPH.match(name))
    needed = _BASE_MIB + _COPIES * weights // 2**20
    free = report.machine.free_mib
    if free is not None and free < needed:
        yield f"{free} MiB of memory are available there, and this may take {needed}: close programs, or add swap"


def _reason(report: Report, backend: str) -> str:
    return next((verdict.reason for verdict in report.verdicts if verdict.backend == backend), report.problem)


def _remedy(report: Report, backend: str, python: str) -> str:
    """Return what to run there for what a backend lacks, with the Python that will run it."""
    commands = [remedy.command for remedy in report.install if backend in remedy.backends]
    line = "; ".join(re.sub(r"\bpip install\b", lambda _: f"{python} -m pip install", word) for word in commands)
    return f"; run there: {line}" if line else ""
