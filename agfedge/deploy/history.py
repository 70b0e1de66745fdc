"""What a target runs, what else it keeps, and the way back: verified and answering before the switch."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass

from agfedge.deploy.errors import DeployError
from agfedge.deploy.golden import check_golden
from agfedge.deploy.local import LocalTarget
from agfedge.deploy.remote import call_function, strings
from agfedge.deploy.target import Target, open_target
from agfedge_runtime.errors import AgfedgeError, InputError

_DIGEST = re.compile("[0-9a-f]{4,64}")


@dataclass(frozen=True)
class KeptRelease:
    """A release on a target.

    Attributes:
        release: Its name.
        bundle: The bundle's name, None where its manifest cannot be read.
        bundle_digest: The bundle's digest, sha256 in hex, None where it has no manifest.
        ran: It was switched to at least once, as far as the target's history goes.
    """

    release: str
    bundle: str | None
    bundle_digest: str | None
    ran: bool


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


@dataclass(frozen=True)
class Rollback:
    """A rollback that ended well; ``dataclasses.asdict`` makes it JSON.

    Attributes:
        target: The target's name.
        current: The release that runs now.
        before: Name of the release that ran before.
        files: How many files' digests were verified.
        golden: The report of the golden answers.
    """

    target: str
    current: KeptRelease
    before: str
    files: int
    golden: Mapping[str, object]


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
    _check_folder(target)
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


def roll_back(target: Target, to: str | None = None) -> Rollback:
    """Switch back to a release that the target still has: the one that ran before the current one.

    As in a deploy, nothing of the release runs before all its digests are verified, and ``current`` changes in
    one step once the golden answers are right. Twice in a row leads back to where it began.

    Args:
        target: Where.
        to: Another release: the beginning of its name or of its bundle's digest, at least 4 digits.

    Raises:
        BusyError: A deploy holds the target.
        DeployError: The target cannot be reached, or the release there is not whole or answers wrongly.
        InputError: There is no such release.
    """
    _check_folder(target)
    # The lock would make the folder of a target on which nothing was ever deployed.
    _choose(read_status(target), to)
    with target.lock():
        found = read_status(target)
        chosen = _choose(found, to)
        try:
            files = _verify(target, chosen.release)
            golden = check_golden(target, chosen.release)
        except AgfedgeError as error:
            raise DeployError(
                f"{target.name}: no rollback to {chosen.release}: {error} (what runs there is unchanged)"
            ) from error
        _switch(target, chosen.release)
    return Rollback(target.name, chosen, found.current.release if found.current else "", files, golden)


def _choose(found: TargetStatus, to: str | None) -> KeptRelease:
    if found.current is None:
        raise InputError(f"{found.target}: {found.error or 'nothing is deployed there'}; deploy a bundle there first")
    if to is not None:
        return _named(found, found.current, to)
    before = next((each for each in found.others if each.ran), None)
    if before is None:
        raise InputError(f"{found.target}: no release ran before {found.current.release}{_others_hint(found)}")
    return before


def _others_hint(found: TargetStatus) -> str:
    names = ", ".join(each.release for each in found.others)
    return f"; --to switches to one that is there: {names}" if names else ", so that there is none to go back to"


def _named(found: TargetStatus, current: KeptRelease, to: str) -> KeptRelease:
    if not _DIGEST.fullmatch(to):
        raise InputError(f"{to!r} is no digest: expected 4 to 64 hexadecimal digits, such as {current.release[:8]}")
    matches = [each for each in (current, *found.others) if _is_called(each, to)]
    if len(matches) != 1:
        among = matches or [current, *found.others]
        said = "several releases begin" if matches else "no release begins"
        raise InputError(
            f"{found.target}: {said} with {to}; expected one of {', '.join(each.release for each in among)}"
        )
    if matches[0] == current:
        raise InputError(f"{found.target}: {current.release} runs there already")
    return matches[0]


def _is_called(kept: KeptRelease, digest: str) -> bool:
    return kept.release.startswith(digest) or (kept.bundle_digest or "").startswith(digest)


def _verify(target: Target, release: str) -> int:
    facts = call_function(target, "releases.audit", release=release)
    problems, files = strings(facts["problems"]), facts["files"]
    if problems or not isinstance(files, int):
        first, *others = problems or ["its digests cannot be compared"]
        more = f" (and {len(others)} more)" if others else ""
        raise DeployError(f"{first}{more}; deploy its bundle again")
    return files


def _switch(target: Target, release: str) -> None:
    try:
        call_function(target, "releases.switch", release=release)
    except AgfedgeError as error:
        # The link changes before the history is written: either release may run, and both are whole.
        raise DeployError(f"{target.name}: the switch to {release} failed: {error}; see agfedge status") from error


def _check_folder(target: Target) -> None:
    if isinstance(target, LocalTarget) and not os.path.isdir(target.name):
        raise DeployError(f"{target.name}: there is no such folder; give one that a bundle was deployed to")


def _kept(facts: Mapping[str, object]) -> KeptRelease:
    bundle, digest = facts["bundle"], facts["bundle_digest"]
    # Nobody has verified the name yet; control characters have no business on a terminal.
    shown = "".join(char if char.isprintable() else "?" for char in bundle) if isinstance(bundle, str) else None
    known = digest if isinstance(digest, str) else None
    return KeptRelease(str(facts["release"]), shown, known, facts["ran"] is True)


def _utc(seconds: object) -> str | None:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds)) if isinstance(seconds, (int, float)) else None
