"""One measured profile with all that a report says of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from agfedge.account.account import account
from agfedge.account.graphs import bundle_that_ran

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from agfedge.account.account import Account
    from agfedge_export import Plan
    from agfedge_runtime import Bundle
    from agfedge_runtime.bundle.manifest import Manifest
    from agfedge_runtime.profile.samples import Samples


@dataclass(frozen=True, eq=False)
class Profile:
    """One measurement.

    Attributes:
        name: of it, for people; distinct among the profiles of a report.
        samples: as they were recorded.
        account: derived from them.
        bundle: that was measured, or that they are compared with; None where it is not at hand.
        plan: what was removed from the heavy expert; None where the bundle does not say.
        labels: the true label of each input, int64 (N,), by `samples.input_index`; None where they are unknown.
    """

    name: str
    samples: Samples
    account: Account
    bundle: Bundle | None
    plan: Plan | None
    labels: NDArray[np.int64] | None

    @property
    def precision(self) -> str:
        """What the graphs computed in."""
        return str(self.samples.environment.get("precision", "fp32"))

    @property
    def manifest(self) -> Manifest | None:
        """The bundle's manifest, with the thresholds of the precision that ran where it has them."""
        return None if self.bundle is None else bundle_that_ran(self.samples, self.bundle).manifest

    @property
    def where(self) -> str:
        """What ran it, in words."""
        threads = "1 thread" if self.samples.threads == 1 else f"{self.samples.threads} threads"
        return f"{self.samples.backend} at {self.precision}, {threads}"


def make_profile(
    name: str,
    samples: Samples,
    labels: NDArray[np.int64] | None = None,
    bundle: Bundle | None = None,
    device: str | None = None,
    found: Account | None = None,
) -> Profile:
    """Derives the account, where it is not there yet.

    Args:
        name: of the measurement.
        samples: of it.
        labels: as of `Profile`.
        bundle: as of `Profile`.
        device: whose cost model stands beside the measurement, as of `agfedge.account.account.account`.
        found: the account, where it was derived before.

    Raises:
        InputError: there is no decision, a label is missing, or there is no such device.
        AgfedgeError: the bundle's plan cannot be read.
    """
    derived = account(samples, labels, bundle, device) if found is None else found
    return Profile(name, samples, derived, bundle, _plan(bundle), labels)


def _plan(bundle: Bundle | None) -> Plan | None:
    if bundle is None or "plan.json" not in bundle.manifest.files:
        return None
    from agfedge_export import Plan

    return Plan.from_json(bundle.file("plan.json").read_text(encoding="utf-8"))
