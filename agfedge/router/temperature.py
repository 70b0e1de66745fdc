"""Temperature scaling: Guo et al., "On Calibration of Modern Neural Networks", arXiv:1706.04599.

Few samples, all answered rightly, would drive the temperature to zero and every confidence to 1. So its logarithm has
a normal prior around 0, worth less and less as samples come in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


LOG_DEVIATION = 0.5
"""Standard deviation of the prior of log(T)."""


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
