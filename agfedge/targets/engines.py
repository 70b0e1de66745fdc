"""Build a release's engines where it will run, before it does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from agfedge.targets.errors import DeployError
from agfedge.targets.remote import call_function, failure, parse_object, run_shipped
from agfedge.targets.target import Target

# Those whose engines are files; what other backends make, they make whenever a graph is opened.
BUILDERS = ("tensorrt", "tensorrt_rtx")


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
        built = sum(each.get("built") is True for each in self.engines)
        seconds = sum(cast(float, each.get("seconds", 0)) for each in self.engines if each.get("built") is True)
        precisions = dict.fromkeys(str(each.get("precision")) for each in self.engines)
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
    call_function(target, "engines.adopt", release=release)
    done = run_shipped(
        target, release, "build", "{bundle}", "--beside", "--backend", backend, "--precision", precision, "--json"
    )
    report = parse_object(done)
    if done.returncode != 0 or report is None:
        raise DeployError(failure(done))
    engines = tuple(cast(list[Mapping[str, object]], report["engines"]))
    call_function(target, "engines.tidy", release=release, plans=[str(each["plan"]) for each in engines])
    return BuiltEngines(backend, str(report["version"]), engines)
