"""A linear probe on pooled trunk features: logistic regression on "the light expert will not answer, or is wrong"."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agfedge_export.heads.priors import Probe

if TYPE_CHECKING:
    from numpy.typing import NDArray

PENALTY = 1.0
"""Weight of the squared norm of the weights of standardised features, beside the summed cross-entropy over two."""
FOLDS = 5


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
