"""How sure the light expert is: four measures, the same as the nodes of `agfedge_export.heads.heads`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from agfedge_export.heads.heads import CONFIDENCES

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["CONFIDENCES", "Measure", "confidence_of", "energy_scale", "fit_temperature"]

LOG_DEVIATION = 0.5
"""Standard deviation of the prior of log(T)."""


@dataclass(frozen=True)
class Measure:
    """A measure of confidence.

    Attributes:
        kind: one of `CONFIDENCES`.
        temperature: logits are divided by it first (Guo et al., arXiv:1706.04599).
        energy: mean and deviation by which the free energy is standardised.
    """

    kind: str = "max_probability"
    temperature: float = 1.0
    energy: tuple[float, float] = (0.0, 1.0)


def confidence_of(logits: NDArray[np.floating], measure: Measure) -> NDArray[np.float64]:
    """Returns the confidence (N,) of logits (N, classes): in [0, 1], higher is surer, rounded to float32 as in graphs.

    * max_probability: the greatest probability.
    * margin: the greatest less the second.
    * entropy: 1 - H / log(classes).
    * energy: sigmoid of the standardised T logsumexp(logits / T), the negative free energy (Liu et al.,
      arXiv:2010.03759).
    """
    from scipy.special import expit, log_softmax

    if measure.kind == "energy":
        center, scale = measure.energy
        value = expit((_energy(logits, measure.temperature) - center) / scale)
    else:
        logs = log_softmax(logits.astype(np.float64) / measure.temperature, axis=1)
        value = _FROM_LOGS[measure.kind](logs)
    rounded: NDArray[np.float64] = value.astype(np.float32).astype(np.float64)
    return rounded


def energy_scale(logits: NDArray[np.floating], temperature: float) -> tuple[float, float]:
    """Returns mean and deviation of the negative free energy of logits (N, classes)."""
    energy = _energy(logits, temperature)
    return float(energy.mean()), float(energy.std()) or 1.0


def _energy(logits: NDArray[np.floating], temperature: float) -> NDArray[np.float64]:
    from scipy.special import logsumexp

    result: NDArray[np.float64] = temperature * logsumexp(logits.astype(np.float64) / temperature, axis=1)
    return result


def _greatest(logs: NDArray[np.float64]) -> NDArray[np.float64]:
    result: NDArray[np.float64] = np.exp(logs.max(axis=1))
    return result


def _margin(logs: NDArray[np.float64]) -> NDArray[np.float64]:
    top = np.exp(np.partition(logs, -2, axis=1)[:, -2:])
    result: NDArray[np.float64] = top[:, 1] - top[:, 0]
    return result


def _order(logs: NDArray[np.float64]) -> NDArray[np.float64]:
    result: NDArray[np.float64] = 1 + (np.exp(logs) * logs).sum(axis=1) / np.log(logs.shape[1])
    return result


_FROM_LOGS = {"entropy": _order, "margin": _margin, "max_probability": _greatest}


def fit_temperature(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """Returns the most probable temperature in [0.05, 20].

    It minimises the summed cross-entropy of `softmax(logits / T)` plus log(T)^2 / (2 * LOG_DEVIATION^2).

    Args:
        logits: (N, classes).
        labels: int64 (N,).
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    values = logits.astype(np.float64)

    def cost(log_temperature: float) -> float:
        cooled = log_softmax(values / np.exp(log_temperature), axis=1)
        return float(-cooled[np.arange(len(labels)), labels].sum() + 0.5 * (log_temperature / LOG_DEVIATION) ** 2)

    best = minimize_scalar(cost, bounds=(np.log(0.05), np.log(20)), method="bounded")
    return float(np.exp(best.x))
