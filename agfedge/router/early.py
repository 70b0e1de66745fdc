"""Early escalation: does a prior save more light passes than it wastes answers?

Judged on the fitting rows alone: the certificate speaks of the router with the prior in force, so neither the prior nor
its threshold may have seen the certifying rows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from agfedge_profiles import PassCosts, Rates, expected

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray


@dataclass(frozen=True)
class EarlyTrial:
    """One prior, tried.

    Attributes:
        kind: the prior's name.
        threshold: escalate early above it; chosen on all fitting rows.
        without: expected cost without the prior, relative to the heavy expert.
        with_prior: with it, its own cost charged, each half of the rows under the threshold that the other chose.
    """

    kind: str
    threshold: float
    without: float
    with_prior: float

    @property
    def saves(self) -> bool:
        """Whether the prior lowers the expected cost on data that did not choose its threshold."""
        return self.with_prior < self.without


def try_priors(
    priors: Mapping[str, NDArray[np.float64]],
    answered: NDArray[np.bool_],
    costs: PassCosts,
    prior_costs: Mapping[str, float],
    seed: int,
) -> list[EarlyTrial]:
    """Tries each prior: its threshold is chosen on one half of the rows and judged on the other, and the reverse.

    Args:
        priors: values by kind, (N,) each.
        answered: whether the light expert's confidence reaches its threshold, (N,).
        costs: of a pass, without a prior.
        prior_costs: likewise, by kind; 0 where missing.
        seed: of the halves.

    Returns:
        One trial a prior; none where there are fewer than four rows.
    """
    if len(answered) < 4:
        return []
    halves = np.array_split(np.random.default_rng(seed).permutation(len(answered)), 2)
    without = _cost(np.zeros(len(answered), dtype=bool), answered, costs)
    trials = []
    for kind, values in priors.items():
        charged = replace(costs, prior=prior_costs.get(kind, 0.0))
        early = np.zeros(len(answered), dtype=bool)
        for choose, judge in (halves, halves[::-1]):
            early[judge] = values[judge] > _best(values[choose], answered[choose], charged)
        trials.append(
            EarlyTrial(kind, _best(values, answered, charged), without, _cost(early, answered, charged)),
        )
    return trials


def _best(values: NDArray[np.float64], answered: NDArray[np.bool_], costs: PassCosts) -> float:
    """Returns the threshold of the least expected cost, of 49 quantiles."""
    grid = np.unique(np.quantile(values, np.linspace(0.02, 0.98, 49)))
    return float(grid[int(np.argmin([_cost(values > threshold, answered, costs) for threshold in grid]))])


def _cost(early: NDArray[np.bool_], answered: NDArray[np.bool_], costs: PassCosts) -> float:
    return expected(Rates(float(early.mean()), float((~early & ~answered).mean())), costs)
