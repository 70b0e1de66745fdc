"""What a target runs, and what else it keeps."""

from __future__ import annotations

import logging
import time
from dataclasses import asdict, dataclass

from agfedge.targets.opening import check_folder, open_target
from agfedge.targets.remote import call
from agfedge.targets.target import DeployError, Target
from agfedge_runtime.errors import AgfedgeError
from agfedge_runtime.releases import releases
from agfedge_runtime.releases.releases import ReleaseFacts

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LastProfile:
    """What the last profile of a release found there.

    Attributes:
        at: When, in UTC (ISO 8601).
        decisions: How many were measured.
        p50_us: Median latency of a decision, None where there were too few.
        cost: Measured, the heavy expert alone is 1.
        escalated: Share of the decisions that reached the heavy expert.
        valid: False where something speaks against the run, such as a device that was throttled.
    """

    at: str
    decisions: int
    p50_us: float | None
    cost: float
    escalated: float
    valid: bool = True


@dataclass(frozen=True)
class KeptRelease:
    """A release on a target.

    Attributes:
        release: Its name.
        bundle: The bundle's name, None where its manifest cannot be read.
        bundle_digest: The bundle's digest, sha256 in hex, None where it has no manifest.
        ran: It was switched to at least once, as far as the target's history goes.
        backend: What runs it, with its version, None where no deploy of it came that far.
        precision: Of the graphs that run.
        device: Name of the profile of the device that it was deployed to, ``generic`` where there is none.
        jetpack: The JetPack that was there then, None where there was none.
        profile: What its last profile found, None where there was none.
    """

    release: str
    bundle: str | None
    bundle_digest: str | None
    ran: bool
    backend: str | None = None
    precision: str | None = None
    device: str | None = None
    jetpack: str | None = None
    profile: LastProfile | None = None

    @property
    def as_deployed(self) -> tuple[str, ...]:
        """Options of the runtime's commands that take the backend and the precision of the deploy."""
        name = (self.backend or "").partition(" ")[0]  # without its version
        given = (("--backend", name), ("--precision", self.precision or ""))
        return tuple(word for option, value in given if value for word in (option, value))


@dataclass(frozen=True)
class TargetStatus:
    """What runs on a target; ``dataclasses.asdict`` makes it JSON.

    Attributes:
        target: The target's name.
        current: The release that runs, None where nothing was deployed.
        since: When it was switched to, in UTC (ISO 8601).
        others: Releases that are kept beside it, the last used first.
        error: Why nothing is known of the target, or why what it has does not run.
    """

    target: str
    current: KeptRelease | None = None
    since: str | None = None
    others: tuple[KeptRelease, ...] = ()
    error: str | None = None


def status(spec: str) -> TargetStatus:
    """Tell what runs on a target; what fails is in the answer, never raised.

    Args:
        spec: The target, as for ``open_target``.
    """
    name = spec
    try:
        target = open_target(spec)
        name = target.name
        return read_status(target)
    except (AgfedgeError, OSError) as error:
        return TargetStatus(name, error=" ".join(str(error).split()).removeprefix(f"{name}: "))


def read_status(target: Target) -> TargetStatus:
    """Ask a target what runs there.

    Raises:
        DeployError: It cannot be reached, or its Python does not run.
    """
    check_folder(target)
    try:
        overview = call(target, releases.overview)
    except DeployError as error:
        raise DeployError(f"{target.name}: {error}") from error
    kept = {facts.release: _kept(facts) for facts in overview.releases}
    current = overview.current
    if overview.foreign_current:
        return TargetStatus(target.name, others=tuple(kept.values()), error="`current` was not made by a deploy")
    if current is None:
        return TargetStatus(target.name, others=tuple(kept.values()))
    running = kept.pop(current, KeptRelease(current, None, None, True))
    broken = None if running.bundle_digest else f"release {current} is not whole: deploy again, or roll back"
    return TargetStatus(target.name, running, _utc(overview.since), tuple(kept.values()), broken)


def keep_profile(target: Target, bundle_digest: str, profile: LastProfile) -> None:
    """Keep a profile in the record of the release that runs; where that fails a warning is logged."""
    try:
        call(target, releases.note_current, bundle_digest, {"profile": asdict(profile)})
    except DeployError as error:  # what was measured is worth more than its trace there
        _log.warning("%s: the profile is not kept there: %s", target.name, error)


def _kept(facts: ReleaseFacts) -> KeptRelease:
    record = facts.record
    backend = " ".join(word for word in (_shown(record.get("backend")), _shown(record.get("version"))) if word)
    return KeptRelease(
        release=facts.release,
        bundle=_shown(facts.bundle),
        bundle_digest=facts.bundle_digest,
        ran=facts.ran,
        backend=backend or None,
        precision=_shown(record.get("precision")),
        device=_shown(record.get("device")),
        jetpack=_shown(record.get("jetpack")),
        profile=_profile(record.get("profile")),
    )


def _profile(facts: object) -> LastProfile | None:
    try:
        return LastProfile(**facts) if isinstance(facts, dict) else None
    except TypeError:  # another version's
        return None


def _shown(text: object) -> str | None:
    """Nobody has verified it yet; control characters have no business on a terminal."""
    return "".join(char if char.isprintable() else "?" for char in text) if isinstance(text, str) else None


def _utc(seconds: float | None) -> str | None:
    return None if seconds is None else time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
