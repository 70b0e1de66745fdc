"""Temperature scaling: Guo et al., "On Calibration of Modern Neural Networks", arXiv:1706.04599."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def fit_temperature(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """Returns the temperature in [0.05, 20] that minimises the cross-entropy of `softmax(logits / T)`.

    Args:
        logits: (N, classes).
        labels: int64 (N,).
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    values = logits.astype(np.float64)

    def cross_entropy(log_temperature: float) -> float:
        cooled = log_softmax(values / np.exp(log_temperature), axis=1)
        return float(-cooled[np.arange(len(labels)), labels].mean())

    best = minimize_scalar(cross_entropy, bounds=(np.log(0.05), np.log(20)), method="bounded")
    return float(np.exp(best.x))
