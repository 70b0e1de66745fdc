"""What the last profile of a release found on its target, kept there beside the release."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from agfedge.targets.errors import DeployError
from agfedge.targets.remote import call_function

if TYPE_CHECKING:
    from agfedge.targets.target import Target

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


def keep_profile(target: Target, bundle_digest: str, profile: LastProfile) -> None:
    """Keep the gist of a profile in the record of the release that runs; where that fails a warning is logged."""
    try:
        call_function(target, "releases.note_current", bundle_digest=bundle_digest, facts={"profile": asdict(profile)})
    except DeployError as error:  # what was measured is worth more than its trace there
        _log.warning("%s: the profile is not kept there: %s", target.name, error)


def read_profile(facts: object) -> LastProfile | None:
    """Return what `keep_profile` kept, None where it is nothing of the kind."""
    try:
        return LastProfile(**facts) if isinstance(facts, dict) else None
    except TypeError:  # another version's
        return None
