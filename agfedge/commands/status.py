"""`agfedge.status`: what runs where."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agfedge.commands import options as o
from agfedge.pages.tables import Result, Table, plain

if TYPE_CHECKING:
    from agfedge.targets.status import LastProfile, TargetStatus

AT_ONCE = 8


@dataclass(frozen=True, eq=False, repr=False)
class StatusResult(Result):
    """What runs on each host.

    Attributes:
        hosts: one a host, in the order in which they were named; what is wrong with one is its `error`.
    """

    hosts: list[TargetStatus]

    @property
    def exit_code(self) -> int:  # type: ignore[override]
        """1 where a host cannot be reached, or what it has does not run."""
        return 1 if any(host.error for host in self.hosts) else 0

    def to_dict(self) -> dict[str, Any]:
        """Returns what `agfedge status --json` prints."""
        return {"hosts": plain(self.hosts)}

    def blocks(self) -> Iterator[str | Table]:
        """Gives a line for each host."""
        return map(_line, self.hosts)


@o.documented
def status(on: o.Hosts) -> StatusResult:
    """Say what runs on each host, since when, and which releases it keeps.

    Returns:
        One status a host. What fails is in it, and never raised.

    Example:
        >>> print(agfedge.status("user@jetson:/opt/classifier"))
    """
    from concurrent.futures import ThreadPoolExecutor

    from agfedge.targets.status import status as status_of

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return StatusResult(list(pool.map(status_of, o.paths_of(on))))


def _line(found: TargetStatus) -> str:
    from agfedge.targets.preflight import GENERIC

    if found.error is not None:
        return f"{found.target}: {found.error}"
    # What was never switched to and has no record was not shipped whole, or did not answer rightly.
    whole = [each.release for each in found.others if each.ran or each.backend]
    unfinished = len(found.others) - len(whole)
    kept = (", ".join(whole) or "no other") + (f" ({unfinished} unfinished beside)" if unfinished else "")
    if found.current is None:
        return f"{found.target}: nothing is deployed; keeps {kept}"
    digest = (found.current.bundle_digest or "")[:12]
    since = f" since {found.since}" if found.since else ""
    where = f" on {found.current.device}" if found.current.device not in (None, GENERIC) else ""
    runs = f"; {found.current.precision} by {found.current.backend}{where}" if found.current.backend else ""
    return (
        f"{found.target}: release {found.current.release}, {found.current.bundle} ({digest}){since}{runs}"
        f"{_profiled(found.current.profile)}; keeps {kept}"
    )


def _profiled(profile: LastProfile | None) -> str:
    if profile is None:
        return "; never profiled"
    p50 = "" if profile.p50_us is None else f", p50 {profile.p50_us:,.0f} us"
    doubt = "" if profile.valid else "INVALID run: "
    return f"; {doubt}cost {profile.cost:.3f}{p50}, {100 * profile.escalated:.1f}% escalated ({profile.at})"
