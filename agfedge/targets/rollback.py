"""The way back to a release that a target still has: verified and answering before the switch."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agfedge.targets.errors import DeployError
from agfedge.targets.golden import check_golden
from agfedge.targets.remote import call_function, strings
from agfedge.targets.service import restart_services
from agfedge.targets.signature import require_signature
from agfedge.targets.status import KeptRelease, TargetStatus, check_folder, read_status
from agfedge.targets.target import Target
from agfedge_runtime.errors import AgfedgeError, InputError

_DIGEST = re.compile("[0-9a-f]{4,64}")


@dataclass(frozen=True)
class Rollback:
    """A rollback that ended well; ``dataclasses.asdict`` makes it JSON.

    Attributes:
        target: The target's name.
        current: The release that runs now.
        before: Name of the release that ran before.
        files: How many files' digests were verified.
        golden: The report of the golden answers.
        restarted: Names of the services that decide with it since.
    """

    target: str
    current: KeptRelease
    before: str
    files: int
    golden: Mapping[str, object]
    restarted: Sequence[str]


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
    check_folder(target)
    # The lock would make the folder of a target on which nothing was ever deployed.
    _choose(read_status(target), to)
    with target.lock():
        found = read_status(target)
        chosen = _choose(found, to)
        try:
            files = _verify(target, chosen.release)
            require_signature(target, chosen.release)
            golden = check_golden(target, chosen.release, *chosen.as_deployed)
        except AgfedgeError as error:
            raise DeployError(
                f"{target.name}: no rollback to {chosen.release}: {error} (what runs there is unchanged)"
            ) from error
        _switch(target, chosen.release)
        restarted, problem = restart_services(target, chosen.release)
    if problem is not None:
        raise DeployError(f"{target.name}: {chosen.release} runs there now, but a service does not: {problem}")
    return Rollback(target.name, chosen, found.current.release if found.current else "", files, golden, restarted)


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
