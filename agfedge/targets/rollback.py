"""The way back to a release that a target still has: verified and answering before the switch."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agfedge.targets.opening import check_folder
from agfedge.targets.remote import call
from agfedge.targets.shipped import check_golden, require_signature, restart_services
from agfedge.targets.status import KeptRelease, TargetStatus, read_status
from agfedge.targets.target import DeployError, Target
from agfedge_runtime.errors import AgfedgeError, InputError
from agfedge_runtime.releases import releases

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
        status = read_status(target)
        chosen = _choose(status, to)
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
    return Rollback(target.name, chosen, status.current.release if status.current else "", files, golden, restarted)


def _choose(status: TargetStatus, to: str | None) -> KeptRelease:
    if status.current is None:
        raise InputError(f"{status.target}: {status.error or 'nothing is deployed there'}; deploy a bundle there first")
    if to is not None:
        return _named(status, status.current, to)
    before = next((kept for kept in status.others if kept.ran), None)
    if before is None:
        raise InputError(f"{status.target}: no release ran before {status.current.release}{_others_hint(status)}")
    return before


def _others_hint(status: TargetStatus) -> str:
    names = ", ".join(kept.release for kept in status.others)
    return f"; --to switches to one that is there: {names}" if names else ", so that there is none to go back to"


def _named(status: TargetStatus, current: KeptRelease, to: str) -> KeptRelease:
    if not _DIGEST.fullmatch(to):
        raise InputError(f"{to!r} is no digest: expected 4 to 64 hexadecimal digits, such as {current.release[:8]}")
    matches = [kept for kept in (current, *status.others) if _is_called(kept, to)]
    if len(matches) != 1:
        among = matches or [current, *status.others]
        said = "several releases begin" if matches else "no release begins"
        raise InputError(
            f"{status.target}: {said} with {to}; expected one of {', '.join(kept.release for kept in among)}"
        )
    if matches[0] == current:
        raise InputError(f"{status.target}: {current.release} runs there already")
    return matches[0]


def _is_called(kept: KeptRelease, digest: str) -> bool:
    return kept.release.startswith(digest) or (kept.bundle_digest or "").startswith(digest)


def _verify(target: Target, release: str) -> int:
    audit = call(target, releases.audit, release)
    if audit.problems:
        first, *others = audit.problems
        more = f" (and {len(others)} more)" if others else ""
        raise DeployError(f"{first}{more}; deploy its bundle again")
    return audit.files


def _switch(target: Target, release: str) -> None:
    try:
        call(target, releases.switch, release)
    except AgfedgeError as error:
        # The link changes before the history is written: either release may run, and both are whole.
        raise DeployError(f"{target.name}: the switch to {release} failed: {error}; see agfedge status") from error
