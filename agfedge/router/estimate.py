"""What a router would cost and get right, told from the rows that choose it: to compare experts, with no guarantee."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from agfedge.router.answers import check_rows
from agfedge.router.choice import choose, likely_threshold
from agfedge.router.confidence import confidence_of
from agfedge.router.priors import prior_charge
from agfedge_runtime.bundle.router import answers, asks_light

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from agfedge.router.answers import Answers
    from agfedge.router.guarantee import Bound
    from agfedge.router.priors import EarlyTrial
    from agfedge_runtime.bundle.layout import Costs


# Of the bootstrap.
RESAMPLES = 300


@dataclass(frozen=True, eq=False)
class RouterEstimate:
    """A router on the rows that chose it.

    Attributes:
        threshold: of the confidence, the lowest that would likely be certified; above 1 where none would.
        prior: the chosen one, or None.
        costs: of a pass, the prior's among them.
        confidence: of the light expert, float64 (N,).
        early: what the prior escalates, (N,).
        late: what the confidence escalates, (N,).
        right: whether the cascade is right, (N,).
        cost: of each row, float64 (N,).
        interval: 95% bootstrap interval of the mean cost, over rows and the threshold that they would choose.
    """

    threshold: float
    prior: EarlyTrial | None
    costs: Costs
    confidence: NDArray[np.float64]
    early: NDArray[np.bool_]
    late: NDArray[np.bool_]
    right: NDArray[np.bool_]
    cost: NDArray[np.float64]
    interval: tuple[float, float] = (0.0, 1.0)

    def at(self, threshold: float, rows: Answers) -> RouterEstimate:
        """Returns the same router at another threshold, on the same rows."""
        never = not asks_light(threshold)
        early = np.ones_like(self.early) if never else self.early
        late = ~early & ~answers(self.confidence, threshold)
        heavy = early | late
        costs = self.costs
        cost = costs.trunk + np.where(heavy, costs.heavy, 0.0)
        cost += costs.prior + costs.overhead + np.where(early, 0.0, costs.light)
        if never:  # the whole heavy expert, and nothing else
            cost = np.ones(len(rows))
        right = np.where(heavy, rows.heavy_right, rows.light_right)
        return replace(self, threshold=threshold, early=early, late=late, right=right, cost=cost)


def choose_estimate(
    rows: Answers,
    costs: Costs,
    prior_costs: Mapping[str, float],
    samples: int,
    bound: Bound,
    seed: int,
) -> RouterEstimate:
    """Chooses a router for two experts as a calibration would.

    Args:
        rows: outputs of both; they choose, and nothing certifies.
        costs: of a pass, without a prior.
        prior_costs: by kind.
        samples: how many rows would certify the threshold.
        bound: that it would be certified for.
        seed: of halves and folds.

    Raises:
        InputError: rows that do not fit together, or values that are not finite.
    """
    check_rows(rows, "choosing")
    chosen = choose(rows, costs, prior_costs, samples, bound, seed)
    confidence, early = confidence_of(rows.light, chosen.measure), chosen.early(rows)
    threshold = likely_threshold(confidence, rows, chosen.grid, samples, bound, early)

    def cost(drawn: NDArray[np.int64]) -> float:
        """The mean cost of rows that were drawn, with the threshold that they choose."""
        again = likely_threshold(confidence[drawn], rows.take(drawn), chosen.grid, samples, bound, early[drawn])
        return float(whole.at(again, rows).cost[drawn].mean())

    charge = 0.0 if chosen.prior is None else prior_charge(chosen.prior.kind, prior_costs)
    nothing = np.zeros(len(rows))
    empty = RouterEstimate(
        threshold, chosen.prior, replace(costs, prior=charge), confidence, early, early, early, nothing
    )
    whole = empty.at(threshold, rows)
    return replace(whole, interval=_interval(cost, len(rows), seed))


def _interval(cost: Callable[[NDArray[np.int64]], float], count: int, seed: int) -> tuple[float, float]:
    from scipy.stats import bootstrap

    if count < 2:
        return 0.0, 1.0
    numbers = np.arange(count)
    interval = bootstrap(
        (numbers,), cost, vectorized=False, n_resamples=RESAMPLES, method="percentile", rng=np.random.default_rng(seed)
    ).confidence_interval
    return float(interval.low), float(interval.high)
