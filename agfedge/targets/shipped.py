"""A release that was shipped: its signature, its engines, its golden answers, and the services that take it up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from agfedge.targets.remote import call, failure, parse_object, run_shipped
from agfedge.targets.target import DeployError, Target
from agfedge_runtime.releases import engines as engine_files
from agfedge_runtime.releases import service, signature

# Those whose engines are files; what other backends make, they make whenever a graph is opened.
BUILDERS = ("tensorrt", "tensorrt_rtx")
# An engine is there already; opening it on a small module takes some seconds.
RESTART_S = 60


@dataclass(frozen=True)
class BuiltEngines:
    """The engines of a release.

    Attributes:
        backend: What built and will run them.
        version: Of that library, empty where there is nothing to build.
        engines: One a graph, as ``agfedge-runtime build --json`` tells it: graph, precision, built, seconds, bytes,
            plan, warnings.
    """

    backend: str
    version: str
    engines: tuple[Mapping[str, object], ...]

    def summary(self) -> str:
        """Return what was built in one line."""
        if not self.version:
            return f"{self.backend} needs none"
        built = sum(engine.get("built") is True for engine in self.engines)
        seconds = sum(cast(float, engine.get("seconds", 0)) for engine in self.engines if engine.get("built") is True)
        precisions = dict.fromkeys(str(engine.get("precision")) for engine in self.engines)
        return (
            f"{built} of {len(self.engines)} engines built in {seconds:.1f} s, the others kept "
            f"({', '.join(precisions)}; {self.backend} {self.version})"
        )


def build_engines(target: Target, release: str, backend: str, precision: str) -> BuiltEngines:
    """Build the engines of a release beside its bundle; plans of the release that runs are used where they fit.

    Args:
        target: Where.
        release: Name of a release that was verified.
        backend: What will run it.
        precision: Of its graphs.

    Raises:
        DeployError: An engine cannot be built; the message is the runtime's.
    """
    if backend not in BUILDERS:
        return BuiltEngines(backend, "", ())
    call(target, engine_files.adopt, release)
    done = run_shipped(
        target, release, "build", "{bundle}", "--beside", "--backend", backend, "--precision", precision, "--json"
    )
    report = parse_object(done)
    if done.returncode != 0 or report is None:
        raise DeployError(failure(done))
    engines = tuple(cast(list[Mapping[str, object]], report["engines"]))
    call(target, engine_files.tidy, release, tuple(str(engine["plan"]) for engine in engines))
    return BuiltEngines(backend, str(report["version"]), engines)


def check_golden(target: Target, release: str, *options: str) -> Mapping[str, object]:
    """Answer the golden inputs there and compare.

    Args:
        target: Where.
        release: Name of a release that was verified.
        options: Of the runtime's own ``verify``, such as ``--precision``.

    Returns:
        The report, as ``agfedge_runtime.cascade.verify.GoldenReport`` with the bundle's digest.

    Raises:
        DeployError: They cannot be answered, or the answers are others.
    """
    done = run_shipped(target, release, "verify", "{bundle}", "--json", *options)
    report = parse_object(done)
    if report is None:
        raise DeployError(f"the golden inputs could not be answered: {failure(done)}")
    if done.returncode != 0 or report.get("passed") is not True:
        raise DeployError(f"the target answers otherwise than the export did: {agreement(report)}")
    return report


def agreement(report: Mapping[str, object]) -> str:
    """Return a report in words."""
    labels, branches, n = (report.get(key) for key in ("labels_equal", "branches_equal", "n"))
    off = report.get("max_probability_difference")
    return (
        f"{labels} of {n} labels and {branches} of {n} branches equal, "
        f"probabilities within {off if not isinstance(off, float) else format(off, '.2g')}"
    )


def restart_services(target: Target, release: str) -> tuple[list[str], str | None]:
    """Restart the services that run there, and wait until each decides with a release.

    Args:
        target: Where.
        release: Name of the release that ``current`` points at.

    Returns:
        Names of their units, and why the last of them does not decide, None where all do.

    Raises:
        DeployError: Python cannot be started there.
    """
    restarted = call(target, service.restart, release, RESTART_S)
    return list(restarted.names), restarted.problem


def require_signature(target: Target, release: str) -> str | None:
    """Have a target verify who signed a release's bundle, where it is set up to ask.

    Args:
        target: Where.
        release: Name of a release whose digests were verified.

    Returns:
        Who signed; None where the target does not ask.

    Raises:
        DeployError: It asks, and nobody whom it knows signed.
    """
    verdict = call(target, signature.check_signature, release)
    if verdict.problem is not None:
        raise DeployError(verdict.problem)
    return verdict.signer
