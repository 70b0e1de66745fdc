"""What a target runs, and what else it keeps."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass

from agfedge.targets.errors import DeployError
from agfedge.targets.last_profile import LastProfile, read_profile
from agfedge.targets.local import LocalTarget
from agfedge.targets.remote import call_function
from agfedge.targets.target import Target, open_target
from agfedge_runtime.errors import AgfedgeError


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
        facts = call_function(target, "releases.overview")
    except DeployError as error:
        raise DeployError(f"{target.name}: {error}") from error
    found = facts["releases"]
    releases = {each.release: each for each in map(_kept, found if isinstance(found, list) else [])}
    current, since = facts["current"], facts["since"]
    if facts["foreign_current"]:
        return TargetStatus(target.name, others=tuple(releases.values()), error="`current` was not made by a deploy")
    if not isinstance(current, str):
        return TargetStatus(target.name, others=tuple(releases.values()))
    running = releases.pop(current, KeptRelease(current, None, None, True))
    broken = None if running.bundle_digest else f"release {current} is not whole: deploy again, or roll back"
    return TargetStatus(target.name, running, _utc(since), tuple(releases.values()), broken)


def check_folder(target: Target) -> None:
    """Refuse a folder on this machine that is not there.

    Raises:
        DeployError: It is not.
    """
    if isinstance(target, LocalTarget) and not os.path.isdir(target.name):
        raise DeployError(f"{target.name}: there is no such folder; give one that a bundle was deployed to")


def _kept(facts: Mapping[str, object]) -> KeptRelease:
    digest, record = facts["bundle_digest"], facts["record"]
    known = record if isinstance(record, dict) else {}
    backend = " ".join(each for each in (_shown(known.get("backend")), _shown(known.get("version"))) if each)
    return KeptRelease(
        release=str(facts["release"]),
        bundle=_shown(facts["bundle"]),
        bundle_digest=digest if isinstance(digest, str) else None,
        ran=facts["ran"] is True,
        backend=backend or None,
        precision=_shown(known.get("precision")),
        device=_shown(known.get("device")),
        jetpack=_shown(known.get("jetpack")),
        profile=read_profile(known.get("profile")),
    )


def _shown(text: object) -> str | None:
    """Nobody has verified it yet; control characters have no business on a terminal."""
    return "".join(char if char.isprintable() else "?" for char in text) if isinstance(text, str) else None


def _utc(seconds: object) -> str | None:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds)) if isinstance(seconds, (int, float)) else None
