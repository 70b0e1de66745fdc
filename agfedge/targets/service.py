"""Services on a target take up the release that ``current`` points at."""

from __future__ import annotations

from agfedge.targets.remote import call_function, strings
from agfedge.targets.target import Target

# An engine is there already; opening it on a small module takes some seconds.
WAIT_S = 60


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
    found = call_function(target, "service.restart", release=release, seconds=WAIT_S)
    problem = found["problem"]
    return list(strings(found["restarted"])), None if problem is None else str(problem)
