"""Priors: what each costs, which one saves more light passes than it wastes answers, and a probe that learns to.

A prior is judged on the fitting rows alone: the certificate speaks of the router with the prior in force, so neither
the prior nor its threshold may have seen the certifying rows. The probe is a logistic regression on pooled trunk
features: "the light expert will not answer, or is wrong".
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from agfedge_export.graph.view import view_of
from agfedge_export.heads.priors import NEGATED, TRUNK_PROBE, Probe, reads_trunk, unsigned
from agfedge_profiles import Rates, expected
from agfedge_runtime.bundle.layout import Costs
from agfedge_runtime.bundle.router import escalates

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import onnx
    from numpy.typing import NDArray

    from agfedge.router.answers import Answers

PENALTY = 1.0
"""Weight of the squared norm of the weights of standardised features, beside the summed cross-entropy over two."""
FOLDS = 5


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
    costs: Costs,
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
            early[judge] = escalates(values[judge], _best(values[choose], answered[choose], charged))
        trials.append(
            EarlyTrial(kind, _best(values, answered, charged), without, _cost(early, answered, charged)),
        )
    return trials


def _best(values: NDArray[np.float64], answered: NDArray[np.bool_], costs: Costs) -> float:
    """Returns the threshold of the least expected cost, of 49 quantiles."""
    grid = np.unique(np.quantile(values, np.linspace(0.02, 0.98, 49)))
    return float(grid[int(np.argmin([_cost(escalates(values, threshold), answered, costs) for threshold in grid]))])


def _cost(early: NDArray[np.bool_], answered: NDArray[np.bool_], costs: Costs) -> float:
    return expected(Rates(float(early.mean()), float((~early & ~answered).mean())), costs)


def prior_values(rows: Answers, kind: str, probe: Probe | None) -> NDArray[np.float64]:
    """Returns a prior's values (N,) as float32 graphs hold them, in double precision."""
    plain = kind.removeprefix(NEGATED)
    if kind in rows.priors:
        plain, sign = kind, 1.0
    else:
        sign = -1.0 if kind != plain else 1.0
    if plain == TRUNK_PROBE and probe is not None and rows.features is not None:
        return sign * probe_values(probe, rows.features)
    result: NDArray[np.float64] = sign * rows.priors[plain].astype(np.float32).astype(np.float64)
    return result


def prior_table(rows: Answers, hard: NDArray[np.bool_], seed: int) -> dict[str, NDArray[np.float64]]:
    """Returns every prior with either sign; the probe's values are of probes that did not see the row."""
    plain = {kind: prior_values(rows, kind, None) for kind in rows.priors}
    table = {}
    for kind, values in plain.items():
        table[kind] = values
        if not kind.startswith(NEGATED) and NEGATED + kind not in plain:
            table[NEGATED + kind] = -values
    if rows.features is not None and 0 < hard.sum() < len(hard):
        table[TRUNK_PROBE] = unseen_values(rows.features, hard, seed)
    return table


def fit_probe(features: NDArray[np.floating], hard: NDArray[np.bool_]) -> Probe:
    """Fits the probe; features are standardised for it, and the weights returned take them as they are.

    Args:
        features: (N, F).
        hard: what it shall say, (N,).
    """
    from scipy.optimize import minimize
    from scipy.special import expit

    values = features.astype(np.float64)
    mean, deviation = values.mean(axis=0), values.std(axis=0)
    deviation[deviation < 1e-6 * np.maximum(np.abs(mean), 1e-6)] = np.inf  # a constant feature says nothing
    table = np.column_stack([(values - mean) / deviation, np.ones(len(values))])

    def cost(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        logit = table @ weights
        penalised = np.append(weights[:-1], 0.0)
        value = np.logaddexp(0, logit).sum() - logit[hard].sum() + PENALTY / 2 * penalised @ penalised
        return float(value), table.T @ (expit(logit) - hard) + PENALTY * penalised

    found = minimize(cost, np.zeros(table.shape[1]), jac=True, method="L-BFGS-B").x
    weights = found[:-1] / deviation
    return Probe(tuple(weights.tolist()), float(found[-1] - weights @ mean))


def probe_values(probe: Probe, features: NDArray[np.floating]) -> NDArray[np.float64]:
    """Returns what the probe says of features (N, F): in [0, 1], (N,)."""
    from scipy.special import expit

    value = expit(features.astype(np.float64) @ np.array(probe.weights) + probe.bias)
    rounded: NDArray[np.float64] = value.astype(np.float32).astype(np.float64)
    return rounded


def unseen_values(features: NDArray[np.floating], hard: NDArray[np.bool_], seed: int) -> NDArray[np.float64]:
    """Returns for each row what a probe says that was fitted without it, (N,)."""
    order = np.random.default_rng(seed).permutation(len(hard))
    values = np.zeros(len(hard))
    for fold in np.array_split(order, min(FOLDS, len(hard))):
        rest = np.setdiff1d(order, fold)
        if len(rest):
            values[fold] = probe_values(fit_probe(features[rest], hard[rest]), features[fold])
    return values


@dataclass(frozen=True)
class PriorShapes:
    """What priors read, one row of it: the input, and a trunk's features, channels first."""

    image: tuple[int, ...]
    features: tuple[tuple[int, ...], ...] = ()


def prior_charges(rows: Answers, shapes: PriorShapes, heavy_macs: int) -> dict[str, float]:
    """Returns what every prior of these rows costs, by its plain kind."""
    kinds = [*rows.priors, *([] if rows.features is None else [TRUNK_PROBE])]
    return {kind: prior_cost(kind, shapes, heavy_macs) for kind in kinds}


def shapes_of(heavy: onnx.ModelProto, features: Sequence[str]) -> tuple[tuple[int, ...], ...]:
    """Returns the shapes of tensors, without the batch."""
    view = view_of(heavy)
    return tuple(tuple((view.shape(name) or (1,))[1:]) for name in features)


def prior_cost(kind: str, shapes: PriorShapes, heavy_macs: int) -> float:
    """Returns what a prior costs relative to the heavy expert: one operation an element and pass over what it reads."""
    plain = unsigned(kind)
    if not reads_trunk(plain):
        return (4 if plain.endswith("gradient") else 1) * prod(shapes.image) / heavy_macs
    weights = sum(shape[0] for shape in shapes.features) if plain == TRUNK_PROBE else 0
    return (sum(prod(shape) for shape in shapes.features) + weights) / heavy_macs


def prior_charge(kind: str, costs: Mapping[str, float]) -> float:
    """Returns what a prior costs, of costs by plain kind; 0 where it is not among them."""
    return costs.get(unsigned(kind), costs.get(kind, 0.0))
