"""Deploy a bundle: ship, verify, build engines, answer the golden inputs, and only then switch over, in one step.

On the target::

    current -> releases/<name>              what runs; switched atomically
    history.json                            releases in the order of their last switch, newest first
    releases/<name>/bundle/                 the bundle as exported
    releases/<name>/bundle.engines/         its engines, built there
    releases/<name>/runtime/                the runtime's source, which runs it
    records/<name>.json                     what was found out about it: backend, precision, engines, last profile
    allowed_signers                         yours, optional: whose bundles may run (ssh-keygen(1), ALLOWED SIGNERS)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import MappingProxyType

from agfedge.targets.preflight import Preflight, check_preflight
from agfedge.targets.release import Release, make_release
from agfedge.targets.remote import call, call_anywhere
from agfedge.targets.shipped import agreement, build_engines, check_golden, require_signature, restart_services
from agfedge.targets.signing import verify_bundle
from agfedge.targets.target import DeployError, Target
from agfedge_runtime.bundle.bundle import Bundle
from agfedge_runtime.bundle.manifest import FULL_PRECISION
from agfedge_runtime.errors import AgfedgeError, InputError
from agfedge_runtime.machine.backends import AUTO
from agfedge_runtime.releases import releases

MIN_KEEP = 2
# What a stage that fails leaves behind.
_UNCHANGED = " (what ran there before is unchanged)"
_AFTER = MappingProxyType({"service": "", "prune": " (the new release runs)"})
LOWEST = "best"


@dataclass(frozen=True)
class DeployOptions:
    """How a bundle is deployed.

    Attributes:
        keep_releases: How many releases stay on the target, the current one and the one before it among them.
        backend: What runs it there; ``auto`` for the best that can.
        precision: Of the graphs whose engines are built and whose golden answers are checked; ``best`` for the lowest
            that the bundle has.
        dry_run: Look at the target and tell what a deploy would do; nothing there is changed.
    """

    keep_releases: int = 3
    backend: str = AUTO
    precision: str = FULL_PRECISION
    dry_run: bool = False


@dataclass(frozen=True)
class Outcome:
    """What a stage did: one line for people, facts for machines (JSON values; sizes in bytes)."""

    summary: str
    facts: Mapping[str, object]


@dataclass(frozen=True)
class StageReport:
    """A stage that ended well."""

    name: str
    seconds: float
    summary: str
    facts: Mapping[str, object]


@dataclass(frozen=True)
class Deployment:
    """A deploy that ended well; ``dataclasses.asdict`` makes it JSON.

    Attributes:
        target: The target's name.
        bundle: The bundle's name.
        bundle_digest: Its digest, sha256 in hex.
        release: Name of the release that ``current`` points at now, or would after a dry run.
        dry_run: Whether nothing was changed.
        stages: What each stage did, in order.
    """

    target: str
    bundle: str
    bundle_digest: str
    release: str
    dry_run: bool
    stages: tuple[StageReport, ...]

    @property
    def notes(self) -> Sequence[str]:
        """What is not as one would want it on the target, a line each."""
        return [line for stage in self.stages for line in _lines(stage.facts.get("notes"))]


class Progress:
    """What is told of a deploy while it runs; does nothing by itself."""

    def stage(self, name: str) -> None:
        """A stage begins."""

    def shipping(self, total: int) -> None:
        """So many bytes may be sent."""

    def sent(self, count: int) -> None:
        """So many bytes were sent since the last call."""


@dataclass
class Job:
    """What every stage is given, and what it found for those that follow."""

    target: Target
    release: Release
    options: DeployOptions
    precision: str
    progress: Progress
    preflight: Preflight | None = None
    record: dict[str, object] = field(default_factory=dict)
    before: str | None = None

    @property
    def backend(self) -> str:
        """What runs the release there."""
        return self.options.backend if self.preflight is None else self.preflight.backend


def deploy(
    bundle_path: Path,
    target: Target,
    options: DeployOptions | None = None,
    progress: Progress | None = None,
) -> Deployment:
    """Deploy a bundle with the runtime that is installed here.

    Whatever fails, and whenever this process is killed, ``current`` on the target points at a whole and
    verified release: the old one before the switch, the new one after it. The next deploy continues from what
    is there.

    Args:
        bundle_path: The bundle's folder.
        target: Where to.
        options: How; see there.
        progress: Told of each stage as it begins, and of bytes as they are sent.

    Raises:
        BundleError: The bundle cannot be trusted.
        BusyError: Another deploy holds the target.
        DeployError: A stage failed; the message names it.
        InputError: ``options`` asks for fewer than 2 releases, or a precision that the bundle does not have.
    """
    asked = DeployOptions() if options is None else options
    return deploy_release(release_of(bundle_path, asked), target, asked, progress)


def release_of(bundle_path: Path, options: DeployOptions) -> Release:
    """Open a bundle and make the release that every target is given; raises as `deploy`."""
    if options.keep_releases < MIN_KEEP:
        raise InputError(
            f"got {options.keep_releases} releases to keep; expected {MIN_KEEP} or more: the current and the previous"
        )
    release = make_release(Bundle.open(bundle_path))
    if release.bundle.signature is not None:
        # Whoever signed it: a signature that does not fit what it signs is told here, not by every target.
        verify_bundle(release.bundle.path)
    release.bundle.manifest.in_precision(_precision(release.bundle, options.precision))
    return release


def deploy_release(
    release: Release, target: Target, options: DeployOptions, progress: Progress | None = None
) -> Deployment:
    """Deploy what `release_of` made; see `deploy`."""
    bundle = release.bundle
    job = Job(target, release, options, _precision(bundle, options.precision), progress or Progress())
    stages = DRY_STAGES if options.dry_run else STAGES
    with nullcontext() if options.dry_run else target.lock():
        reports = tuple(_run_stage(name, stage, job) for name, stage in stages.items())
    return Deployment(target.name, bundle.manifest.name, bundle.digest, release.name, options.dry_run, reports)


def _precision(bundle: Bundle, asked: str) -> str:
    return bundle.manifest.lowest_precision if asked == LOWEST else asked


def _run_stage(name: str, stage: Callable[[Job], Outcome], job: Job) -> StageReport:
    job.progress.stage(name)
    began = time.monotonic()
    try:
        outcome = stage(job)
    except AgfedgeError as error:
        raise DeployError(f"{job.target.name}: {name} failed: {error}{_AFTER.get(name, _UNCHANGED)}") from error
    return StageReport(name, time.monotonic() - began, outcome.summary, outcome.facts)


def _preflight(job: Job) -> Outcome:
    job.preflight = check_preflight(job.target, job.release, job.options.backend)
    facts = job.preflight
    job.record |= {"backend": facts.backend, "version": facts.backend_version}
    job.record |= {"device": facts.profile, "jetpack": facts.jetpack}
    return Outcome(facts.summary(), asdict(facts))


def _ship(job: Job) -> Outcome:
    files, size = len(job.release.files), job.release.size
    if not _problems(job):
        return Outcome("already there", {"shipped": False, "files": files, "bytes": size})
    job.progress.shipping(size)
    job.target.put(job.release.bundle.path, job.release.folder / "bundle", job.progress.sent)
    with job.release.runtime_folder() as runtime:
        job.target.put(runtime, job.release.folder / "runtime", job.progress.sent)
    return Outcome(f"{files} files, {size / 1e6:.2f} MB", {"shipped": True, "files": files, "bytes": size})


def _verify(job: Job) -> Outcome:
    problems = _problems(job)
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise DeployError(f"{problems[0]}{more}; deploy again, and check the target's disk if it recurs")
    signer = require_signature(job.target, job.release.name)
    signed = f", signed by {signer}" if signer else ""
    return Outcome(
        f"{len(job.release.files)} sha256 digests equal{signed}", {"files": len(job.release.files), "signer": signer}
    )


def _problems(job: Job) -> Sequence[str]:
    # A dry run asks where there may be no folder yet.
    ask = call_anywhere if job.options.dry_run else call
    return ask(job.target, releases.verify, job.release.name, dict(job.release.files))


def _engines(job: Job) -> Outcome:
    built = build_engines(job.target, job.release.name, job.backend, job.precision)
    job.record |= {"precision": job.precision, "engines": [dict(engine) for engine in built.engines]}
    return Outcome(built.summary(), asdict(built))


def _golden(job: Job) -> Outcome:
    options = ("--backend", job.backend, "--precision", job.precision)
    report = check_golden(job.target, job.release.name, *options)
    job.record["golden"] = dict(report)
    return Outcome(agreement(report), report)


def _switch(job: Job) -> Outcome:
    call(job.target, releases.note, job.release.name, job.record)
    done = call(job.target, releases.switch, job.release.name)
    job.before = done.before if done.switched else None
    before = f", before: {done.before}" if done.before else ""
    summary = f"current -> {job.release.folder}{before}" if done.switched else "current already"
    return Outcome(summary, asdict(done))


def _service(job: Job) -> Outcome:
    restarted, problem = restart_services(job.target, job.release.name)
    if problem is not None:
        raise DeployError(f"{problem}{_back(job)}")
    summary = f"{', '.join(restarted)} decides with it" if restarted else "none runs"
    return Outcome(summary, {"restarted": restarted})


def _back(job: Job) -> str:
    """Let what ran before run again; says that it does."""
    if job.before is None:
        return "; there is no release before it"
    call(job.target, releases.switch, job.before)
    _, problem = restart_services(job.target, job.before)
    return f"; switched back to {job.before}" + (f", where {problem}" if problem else "")


def _prune(job: Job) -> Outcome:
    pruned = call(job.target, releases.prune, job.options.keep_releases)
    facts = {"kept": list(pruned.kept), "removed": list(pruned.removed)}
    return Outcome(f"{len(pruned.kept)} kept, {len(pruned.removed)} removed", facts)


def _would_ship(job: Job) -> Outcome:
    name, files = job.release.name, job.release.files
    problems = _problems(job)
    missing = [path for path in files if any(problem.startswith(f"{path}: ") for problem in problems)]
    size = sum(files[path].size for path in missing)
    current = None if job.preflight is None else job.preflight.current
    would = f"would send {len(missing)} of {len(files)} files, {size / 1e6:.2f} MB" if missing else "all is there"
    then = "nothing runs there yet" if current is None else f"{'it' if current == name else current} runs there now"
    return Outcome(f"{would}; {then}", {"missing": missing, "bytes": size})


def _lines(value: object) -> Sequence[str]:
    return [str(each) for each in value] if isinstance(value, (list, tuple)) else []


STAGES: Mapping[str, Callable[[Job], Outcome]] = MappingProxyType(
    {
        "preflight": _preflight,
        "ship": _ship,
        "verify": _verify,
        "engines": _engines,
        "golden": _golden,
        "switch": _switch,
        "service": _service,
        "prune": _prune,
    }
)
DRY_STAGES: Mapping[str, Callable[[Job], Outcome]] = MappingProxyType({"preflight": _preflight, "ship": _would_ship})
