"""The passes of a run as they were measured alone, decision by decision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from agfedge_profiles import Rates
from agfedge_runtime import Branch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from agfedge_runtime.profile.samples import Samples


@dataclass(frozen=True, eq=False)
class Passes:
    """What each part of the cascade takes alone, without what comes before it; float64 (n,), microseconds.

    Attributes:
        trunk: of what both experts share; 0 where they share nothing.
        prior: of the prior; 0 where the cascade did not ask for it.
        light: of the light expert, after the trunk.
        heavy: of the heavy expert, after the trunk.
        rates: shares of this run's decisions that were escalated.
    """

    trunk: NDArray[np.float64]
    prior: NDArray[np.float64]
    light: NDArray[np.float64]
    heavy: NDArray[np.float64]
    rates: Rates

    def expected_us(self, rates: Rates) -> float:
        """T + P + (1 - p_early) * L + (p_early + p_late) * H, of the means of the four, in microseconds."""
        trunk, prior, light, heavy = (float(each.mean()) for each in (self.trunk, self.prior, self.light, self.heavy))
        return trunk + prior + (1 - rates.early) * light + rates.heavy * heavy


def passes_of(samples: Samples) -> Passes:
    """Takes the passes apart.

    With a trunk, the times of the prior and of both experts hold the trunk's, which runs once. The prior is charged
    only where the cascade computed it.
    """
    trunk = np.nan_to_num(samples.trunk_us)
    asked = ~np.isnan(samples.prior)
    prior = np.where(asked, np.nan_to_num(samples.prior_us) - trunk, 0.0)
    early, late = samples.branches == Branch.EARLY, samples.branches == Branch.LATE
    rates = Rates(float(early.mean()), float(late.mean()))
    return Passes(trunk, prior, samples.light_us - trunk, samples.heavy_us - trunk, rates)
