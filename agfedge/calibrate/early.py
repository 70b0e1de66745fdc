"""Early escalation: does a zero-cost prior save more light passes than it wastes answers?

Escalating early never raises the risk that `guarantee.certify` bounds, because the inputs that the light expert still
answers are a subset. So the prior's threshold is free to be chosen by cost alone.
"""

from __future__ import annotations

from dataclasses import dataclass
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
        threshold: escalate early above it; chosen on one half of the calibration split.
        without: expected cost on the other half without the prior, relative to the heavy expert.
        with_prior: with it, its own cost charged.
    """

    kind: str
    threshold: float
    without: float
    with_prior: float

    @property
    def saves(self) -> bool:
        """Whether the prior lowers the expected cost on data that did not choose it."""
        return self.with_prior < self.without


def try_priors(
    priors: Mapping[str, NDArray[np.float64]],
    answered: NDArray[np.bool_],
    light_cost: float,
    prior_costs: Mapping[str, float],
    seed: int,
) -> list[EarlyTrial]:
    """Tries each prior: its threshold is chosen on one half of the samples and judged on the other.

    Args:
        priors: values by kind, (N,) each.
        answered: whether the light expert's confidence reaches its threshold, (N,).
        light_cost: relative to the heavy expert.
        prior_costs: likewise, by kind.
        seed: of the halves.

    Returns:
        One trial a prior; none where there are fewer than two samples.
    """
    if len(answered) < 2:
        return []
    order = np.random.default_rng(seed).permutation(len(answered))
    choose, judge = order[: len(order) // 2], order[len(order) // 2 :]
    trials = []
    for kind, values in priors.items():
        costs = PassCosts(light_cost, prior_costs[kind])
        grid = np.unique(np.quantile(values[choose], np.linspace(0.02, 0.98, 49)))
        at = [_cost(values[choose] > threshold, answered[choose], costs) for threshold in grid]
        threshold = float(grid[int(np.argmin(at))])
        without = _cost(np.zeros(len(judge), dtype=bool), answered[judge], PassCosts(light_cost))
        trials.append(EarlyTrial(kind, threshold, without, _cost(values[judge] > threshold, answered[judge], costs)))
    return trials


def _cost(early: NDArray[np.bool_], answered: NDArray[np.bool_], costs: PassCosts) -> float:
    return expected(Rates(float(early.mean()), float((~early & ~answered).mean())), costs)
