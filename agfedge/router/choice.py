"""What the fitting rows choose: temperature, measure of confidence, prior and its threshold, and the thresholds to try.

Nothing here sees the certifying rows. Where several choices are within noise of each other the plain one is taken: the
temperature that fits the labels, the greatest probability, no prior.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from agfedge.router.confidence import CONFIDENCES, Measure, confidence_of, energy_scale, fit_temperature
from agfedge.router.guarantee import Bound, reaching, threshold_grid
from agfedge.router.net_risk import score
from agfedge.router.priors import EarlyTrial, fit_probe, prior_charge, prior_table, prior_values, try_priors
from agfedge_export.heads.priors import TRUNK_PROBE, Probe
from agfedge_profiles import Rates, expected
from agfedge_runtime.bundle.layout import Costs
from agfedge_runtime.bundle.router import answers, escalates

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from agfedge.router.answers import Answers

TEMPERATURES = (1.0, 0.5, 2.0)
"""Factors on the fitted temperature that are tried."""


@dataclass(frozen=True)
class MeasureTrial:
    """One measure of confidence, tried on the fitting rows.

    Attributes:
        measure: its kind, temperature and scale.
        threshold: the lowest that would be certified if the certifying rows were like these.
        expected_cost: without a prior, relative to the heavy expert.
    """

    measure: Measure
    threshold: float
    expected_cost: float


@dataclass(frozen=True, eq=False)
class Choice:
    """A router but for its confidence threshold.

    Attributes:
        measure: of confidence.
        grid: thresholds to try, strictest first.
        prior: the chosen one, or None.
        probe: of the prior `trunk_probe`, or None.
        measures: every measure tried.
        trials: every prior tried.
    """

    measure: Measure
    grid: NDArray[np.float64]
    prior: EarlyTrial | None = None
    probe: Probe | None = None
    measures: tuple[MeasureTrial, ...] = ()
    trials: tuple[EarlyTrial, ...] = ()

    def early(self, rows: Answers) -> NDArray[np.bool_]:
        """Returns what the prior escalates, (N,)."""
        if self.prior is None:
            return np.zeros(len(rows), dtype=bool)
        return escalates(prior_values(rows, self.prior.kind, self.probe), self.prior.threshold)


def choose(
    rows: Answers,
    costs: Costs,
    prior_costs: Mapping[str, float],
    samples: int,
    bound: Bound,
    seed: int,
    kinds: Sequence[str] = CONFIDENCES,
    temperatures: Sequence[float] = TEMPERATURES,
) -> Choice:
    """Chooses what costs least on the fitting rows, whose order plays no part.

    Args:
        rows: the fitting rows.
        costs: of a pass, relative to the heavy expert, without a prior.
        prior_costs: by kind.
        samples: how many rows will certify the threshold.
        bound: that it will be certified for.
        seed: of halves and folds.
        kinds: measures of confidence to try, the plain one first.
        temperatures: factors on the fitted temperature to try, 1 first.
    """
    rows = rows.ordered()
    measure, trials = _choose_measure(rows, costs, samples, bound, kinds, temperatures)
    confidence = confidence_of(rows.light, measure)
    answered = answers(confidence, likely_threshold(confidence, rows, threshold_grid(confidence), samples, bound))
    hard = ~answered | ~rows.light_right
    values = prior_table(rows, hard, seed)
    charged = {kind: prior_charge(kind, prior_costs) for kind in values}
    tried = try_priors(values, answered, costs, charged, seed)
    prior = min((trial for trial in tried if trial.saves), key=lambda trial: trial.with_prior, default=None)
    probe = fit_probe(rows.features, hard) if _is_probe(prior) and rows.features is not None else None
    return Choice(measure, threshold_grid(confidence), prior, probe, trials, tuple(tried))


def likely_threshold(
    confidence: NDArray[np.float64],
    rows: Answers,
    grid: NDArray[np.float64],
    samples: int,
    bound: Bound,
    early: NDArray[np.bool_] | None = None,
) -> float:
    """Returns the lowest threshold that would be certified if the certifying rows were like these.

    The counts are scaled to the certifying rows and put into the score test's normal approximation; only the choice of
    what to certify rests on it. What is escalated `early`, (N,), neither loses nor gains.
    """
    from scipy.stats import norm

    scale = samples / len(rows)
    kept = np.ones(len(rows), dtype=bool) if early is None else ~early
    lost, gained = kept & rows.heavy_right & ~rows.light_right, kept & rows.light_right & ~rows.heavy_right
    losses, gains = (scale * reaching(confidence[chosen], grid) for chosen in (lost, gained))
    passed = score(losses, gains, samples, bound.epsilon) <= -norm.isf(bound.delta)
    # The fixed sequence ends at its first failure, too.
    last = len(grid) if passed.all() else int(np.argmin(passed))
    return float(grid[last - 1]) if last else 2.0


def _choose_measure(
    rows: Answers,
    costs: Costs,
    samples: int,
    bound: Bound,
    kinds: Sequence[str],
    temperatures: Sequence[float],
) -> tuple[Measure, tuple[MeasureTrial, ...]]:
    fitted = fit_temperature(rows.light.astype(np.float32), rows.labels)
    trials, hits = [], []
    for kind in kinds:
        for factor in temperatures:
            temperature = factor * fitted
            scale = energy_scale(rows.light, temperature) if kind == "energy" else (0.0, 1.0)
            measure = Measure(kind, temperature, scale)
            confidence = confidence_of(rows.light, measure)
            threshold = likely_threshold(confidence, rows, threshold_grid(confidence), samples, bound)
            answered = answers(confidence, threshold)
            hits.append(answered)
            trials.append(MeasureTrial(measure, threshold, expected(Rates(0.0, float((~answered).mean())), costs)))
    best = int(np.argmin([trial.expected_cost for trial in trials]))
    return trials[best if _clearly_more(hits[best], hits[0]) else 0].measure, tuple(trials)


def _clearly_more(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> bool:
    """Whether one measure answers more than another by over a standard error of their paired difference."""
    difference = one.astype(float) - other
    return bool(difference.mean() > difference.std() / np.sqrt(len(difference)))


def _is_probe(prior: EarlyTrial | None) -> bool:
    return prior is not None and prior.kind == TRUNK_PROBE
