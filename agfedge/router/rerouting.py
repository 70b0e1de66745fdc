"""Thresholds chosen anew on what graphs answer that are there already: what is in the graphs stays."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from agfedge.router.calibration import always_heavy
from agfedge.router.guarantee import Bound, certify, threshold_grid
from agfedge.router.priors import EarlyTrial, try_priors
from agfedge_profiles import Rates, expected
from agfedge_runtime.bundle.layout import Costs
from agfedge_runtime.bundle.router import Branch, Reference, Router, answers, escalates
from agfedge_runtime.monitor.monitor import confidence_histogram

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from agfedge.router.answers import Answers
    from agfedge_runtime.bundle.layout import Costs


def reroute(
    router: Router, costs: Costs, fitting: Answers, certifying: Answers, bound: Bound, seed: int
) -> tuple[Router, EarlyTrial | None]:
    """Chooses the prior's threshold on one part, and certifies the confidence threshold on the other.

    Args:
        router: whose kinds and outputs stay.
        costs: of a pass.
        fitting: what the graphs answer on rows that choose.
        certifying: likewise, on rows that certify.
        bound: to certify.
        seed: of the halves that judge the prior.
    """
    grid = threshold_grid(_confidence(fitting))
    trial, rule = None, router.prior
    if rule is not None:
        answered = answers(_confidence(fitting), _likely(fitting, grid, bound.epsilon))
        values = {rule.kind: fitting.priors[rule.kind].astype(np.float64)}
        tried = try_priors(values, answered, replace(costs, prior=0.0), {rule.kind: costs.prior}, seed)
        trial = next(iter(tried), None)
        rule = replace(rule, threshold=trial.threshold if trial is not None and trial.saves else None)
    early = np.zeros(len(certifying), dtype=bool)
    if rule is not None and rule.threshold is not None:
        early = escalates(certifying.priors[rule.kind], rule.threshold)
    confidence = _confidence(certifying)
    threshold, guarantee = certify(confidence, certifying.light_right, certifying.heavy_right, grid, bound, early)
    chosen = Router(rule, replace(router.confidence, threshold=threshold), guarantee)
    branches = chosen.route(None if rule is None else certifying.priors[rule.kind], confidence)
    rates = Rates(*(float((branches == branch).mean()) for branch in (Branch.EARLY, Branch.LATE)))
    charged = replace(costs, prior=costs.prior if chosen.asks_prior else 0.0)
    if not chosen.asks_light or expected(rates, charged) >= 1:
        # The graph of the prior stays.
        return replace(always_heavy(chosen), prior=None if rule is None else replace(rule, threshold=None)), trial
    reference = Reference(len(certifying), rates.early, rates.late, confidence_histogram(confidence[~early]))
    return replace(chosen, reference=reference), trial


def _confidence(rows: Answers) -> NDArray[np.float64]:
    if rows.confidence is None:
        raise ValueError("these rows are of no final graphs")
    return rows.confidence


def _likely(fitting: Answers, grid: NDArray[np.float64], epsilon: float) -> float:
    """Returns the lowest threshold at which the fitting part loses no more than epsilon."""
    loss, confidence = fitting.heavy_right.astype(int) - fitting.light_right.astype(int), _confidence(fitting)
    fine = [threshold for threshold in grid if loss[answers(confidence, threshold)].sum() <= epsilon * len(loss)]
    return float(min(fine, default=grid[0]))
