"""`agfedge.rollback`: back to a release that a host still has."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from agfedge.commands import options as o
from agfedge.pages.tables import Result, plain

if TYPE_CHECKING:
    from agfedge.targets.rollback import Rollback


@dataclass(frozen=True, eq=False, repr=False)
class RollbackResult(Result):
    """A rollback that ended well.

    Attributes:
        done: what runs now, what ran before, and what was verified.
    """

    done: Rollback

    def to_dict(self) -> dict[str, Any]:
        """Returns what `agfedge rollback --json` prints."""
        found: dict[str, Any] = plain(self.done)
        return found

    def blocks(self) -> Iterator[str]:
        """Gives one line."""
        done, current = self.done, self.done.current
        yield (
            f"{done.target}: current -> releases/{current.release} (bundle {current.bundle}, "
            f"{(current.bundle_digest or '')[:12]}), before: {done.before}; {done.files} digests and "
            f"{done.golden.get('n')} golden answers verified"
        )


@o.documented
def rollback(
    on: o.On,
    *,
    to: Annotated[
        str | None, Parameter(help="Another release: the start of its name or of its bundle's digest.")
    ] = None,
) -> RollbackResult:
    """Switch a host back to the release that ran before.

    Every digest of that release and its golden answers are verified there first; then the host switches over, in one
    step. A second rollback undoes the first.

    Raises:
        AgfedgeError: The host cannot be reached, or the release there is not whole or answers wrongly.

    Example:
        >>> agfedge.rollback("user@jetson:/opt/classifier")
    """
    from agfedge.targets.opening import open_target
    from agfedge.targets.rollback import roll_back

    return RollbackResult(roll_back(open_target(str(on)), to))
