"""Deploy a bundle: ship, verify, answer the golden inputs, and only then switch over, in one step.

On the target::

    current -> releases/<name>      what runs; switched atomically
    history.json                    releases in the order of their last switch, newest first
    releases/<name>/bundle/         the bundle as exported
    releases/<name>/runtime/        the runtime's source, which runs it
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType

from agfedge.deploy.errors import DeployError
from agfedge.deploy.golden import agreement, check_golden
from agfedge.deploy.preflight import check_preflight
from agfedge.deploy.release import Release, make_release
from agfedge.deploy.remote import call_function, strings
from agfedge.deploy.target import Target
from agfedge_runtime.bundle import Bundle
from agfedge_runtime.errors import AgfedgeError, InputError

MIN_KEEP = 2


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
        release: Name of the release that ``current`` points at now.
        stages: What each stage did, in order.
    """

    target: str
    bundle: str
    bundle_digest: str
    release: str
    stages: tuple[StageReport, ...]


@dataclass(frozen=True)
class Job:
    """What every stage is given."""

    target: Target
    release: Release
    keep: int


def deploy(
    bundle_path: Path,
    target: Target,
    *,
    keep_releases: int = 3,
    progress: Callable[[str], None] | None = None,
) -> Deployment:
    """Deploy a bundle with the runtime that is installed here.

    Whatever fails, and whenever this process is killed, ``current`` on the target points at a whole and
    verified release: the old one before the switch, the new one after it. The next deploy continues from what
    is there.

    Args:
        bundle_path: The bundle's folder.
        target: Where to.
        keep_releases: How many releases stay on the target, the current one and the one before it among them.
        progress: Called with the name of each stage as it begins.

    Raises:
        BundleError: The bundle cannot be trusted.
        BusyError: Another deploy holds the target.
        DeployError: A stage failed; the message names it.
        InputError: ``keep_releases`` is below 2.
    """
    if keep_releases < MIN_KEEP:
        raise InputError(
            f"got {keep_releases} releases to keep; expected {MIN_KEEP} or more: the current and the previous"
        )
    release = make_release(Bundle.open(bundle_path))
    job = Job(target, release, keep_releases)
    with target.lock():
        stages = tuple(_run_stage(name, job, progress) for name in STAGES)
    bundle = release.bundle
    return Deployment(target.name, bundle.manifest.name, bundle.digest, release.name, stages)


def _run_stage(name: str, job: Job, progress: Callable[[str], None] | None) -> StageReport:
    if progress is not None:
        progress(name)
    began = time.monotonic()
    try:
        outcome = STAGES[name](job)
    except AgfedgeError as error:
        state = "the new release runs" if name == "prune" else "what ran there before is unchanged"
        raise DeployError(f"{job.target.name}: {name} failed: {error} ({state})") from error
    return StageReport(name, time.monotonic() - began, outcome.summary, outcome.facts)


def _preflight(job: Job) -> Outcome:
    facts = check_preflight(job.target, job.release)
    return Outcome(facts.summary(), asdict(facts))


def _ship(job: Job) -> Outcome:
    files, size = len(job.release.files), job.release.size
    if not _problems(job):
        return Outcome("already there", {"shipped": False, "files": files, "bytes": size})
    job.target.put(job.release.bundle.path, job.release.folder / "bundle")
    with job.release.runtime_folder() as runtime:
        job.target.put(runtime, job.release.folder / "runtime")
    return Outcome(f"{files} files, {size / 1e6:.2f} MB", {"shipped": True, "files": files, "bytes": size})


def _verify(job: Job) -> Outcome:
    problems = _problems(job)
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise DeployError(f"{problems[0]}{more}; deploy again, and check the target's disk if it recurs")
    return Outcome(f"{len(job.release.files)} sha256 digests equal", {"files": len(job.release.files)})


def _problems(job: Job) -> Sequence[str]:
    files = {name: [record.size, record.sha256] for name, record in job.release.files.items()}
    return strings(call_function(job.target, "releases.verify", release=job.release.name, files=files)["problems"])


def _golden(job: Job) -> Outcome:
    report = check_golden(job.target, job.release.name)
    return Outcome(agreement(report), report)


def _switch(job: Job) -> Outcome:
    facts = call_function(job.target, "releases.switch", release=job.release.name)
    before = f", before: {facts['before']}" if facts["before"] else ""
    summary = f"current -> {job.release.folder}{before}" if facts["switched"] else "current already"
    return Outcome(summary, facts)


def _prune(job: Job) -> Outcome:
    facts = call_function(job.target, "releases.prune", keep=job.keep)
    kept, removed = (len(each) if isinstance(each, list) else 0 for each in (facts["kept"], facts["removed"]))
    return Outcome(f"{kept} kept, {removed} removed", facts)


STAGES: Mapping[str, Callable[[Job], Outcome]] = MappingProxyType(
    {
        "preflight": _preflight,
        "ship": _ship,
        "verify": _verify,
        "golden": _golden,
        "switch": _switch,
        "prune": _prune,
    }
)
