"""The thresholds of a bundle chosen anew from what its graphs answer; what is in the graphs stays."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from agfedge.router.early import EarlyTrial, try_priors
from agfedge.router.guarantee import METHOD, NEVER, Guarantee, certify, threshold_grid
from agfedge.router.router import ALWAYS_HEAVY
from agfedge_profiles import PassCosts, Rates, expected
from agfedge_runtime import Bundle, Cascade
from agfedge_runtime.bundle import manifest
from agfedge_runtime.monitor.monitor import confidence_histogram

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from agfedge.data import Arrays

BATCH = 256


@dataclass(frozen=True, eq=False)
class Observed:
    """What both experts say of a part of the data: each array (N,)."""

    light_label: NDArray[np.int64]
    heavy_label: NDArray[np.int64]
    light_right: NDArray[np.bool_]
    heavy_right: NDArray[np.bool_]
    confidence: NDArray[np.float64]
    prior: NDArray[np.float64]

    def escalated(self, router: manifest.Router) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Returns which inputs a router escalates early, and which late."""
        limit = None if router.prior is None else router.prior.threshold
        never = router.confidence.threshold > 1
        early = np.full(len(self.prior), never) if limit is None or never else self.prior > limit
        return early, ~early & (self.confidence < router.confidence.threshold)

    def labels(self, router: manifest.Router) -> NDArray[np.int64]:
        """Returns what the cascade answers under a router."""
        early, late = self.escalated(router)
        return np.where(early | late, self.heavy_label, self.light_label)


def observe(bundle: Bundle, data: Arrays) -> Observed:
    """Runs both experts on all inputs, whatever the router would do."""
    router = bundle.manifest.router
    prior = None if router.prior is None else replace(router.prior, threshold=None)
    everything = replace(router, prior=prior, confidence=replace(router.confidence, threshold=0.0))
    columns: list[tuple[NDArray[np.generic], ...]] = []
    with Cascade.open(replace(bundle, manifest=replace(bundle.manifest, router=everything)), monitor=False) as cascade:
        for start in range(0, len(data), BATCH):
            x, y = data.x[start : start + BATCH], data.y[start : start + BATCH]
            made = cascade(x)
            values = cascade.prior(x) if prior is not None else np.zeros(len(x), np.float32)
            columns.append((y, made.labels, cascade.heavy(x).argmax(1), made.confidence, values))
    y, light, heavy, confidence, values = (np.concatenate(each) for each in zip(*columns, strict=True))
    labels = (light.astype(np.int64), heavy.astype(np.int64))
    # In double precision, in which the runtime compares too.
    return Observed(*labels, light == y, heavy == y, confidence.astype(float), values.astype(float))


def reroute(
    made: manifest.Manifest, fitting: Observed, certifying: Observed, epsilon: float, delta: float, seed: int
) -> tuple[manifest.Router, EarlyTrial | None, Guarantee]:
    """Chooses the prior's threshold on one part, and certifies the confidence threshold on the other."""
    router, costs = made.router, pass_costs(made)
    grid = threshold_grid(fitting.confidence)
    trial = None
    if router.prior is not None:
        answered = fitting.confidence >= _likely(fitting, grid, epsilon)
        charges = {router.prior.kind: made.costs.prior}
        trial = next(iter(try_priors({router.prior.kind: fitting.prior}, answered, costs, charges, seed)), None)
    limit = trial.threshold if trial is not None and trial.saves else None
    early = np.zeros(len(certifying.prior), dtype=bool) if limit is None else certifying.prior > limit
    sides = (certifying.light_right, certifying.heavy_right)
    guarantee = certify(certifying.confidence, *sides, grid, epsilon, delta, early)
    late = ~early & (certifying.confidence < guarantee.threshold)
    rates = Rates(float(early.mean()), float(late.mean()))
    method = METHOD
    if expected(rates, replace(costs, prior=0.0 if limit is None else made.costs.prior)) >= 1:
        guarantee, limit, method = replace(guarantee, threshold=NEVER, losses=0, gains=0), None, ALWAYS_HEAVY
    samples = len(early)
    asked = certifying.confidence[~early]
    reference = manifest.Reference(samples, rates.early, rates.late, confidence_histogram(asked))
    chosen = manifest.Router(
        prior=None if router.prior is None else replace(router.prior, threshold=limit),
        confidence=replace(router.confidence, threshold=guarantee.threshold),
        guarantee=manifest.Guarantee(method=method, epsilon=epsilon, delta=delta, samples=samples, satisfied=True),
        reference=reference if guarantee.threshold <= 1 else None,
    )
    return chosen, trial, guarantee


def _likely(fitting: Observed, grid: NDArray[np.float64], epsilon: float) -> float:
    """Returns the lowest threshold at which the fitting part loses no more than epsilon."""
    loss = fitting.heavy_right.astype(int) - fitting.light_right.astype(int)
    fine = [threshold for threshold in grid if loss[fitting.confidence >= threshold].sum() <= epsilon * len(loss)]
    return float(min(fine, default=grid[0]))


def pass_costs(made: manifest.Manifest) -> PassCosts:
    """Returns what a pass costs, without a prior."""
    return PassCosts(made.costs.light, trunk=made.costs.trunk, heavy=made.costs.heavy)
