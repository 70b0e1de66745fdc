"""Scores of feature maps' statistics: how much a channel varies, and how large the inputs of its weights are.

FLAP, An et al., "Fluctuation-based Adaptive Structured Pruning for Large Language Models", arXiv:2312.11983. A channel
that hardly varies can be replaced by its mean, which is folded into the next layer's bias. That folding is compensation
after the cut, and no part of the score: re-estimated batch normalisation or recovery takes its place here.

Wanda and RIA weigh each producing weight by how large its input is. X_j is input channel j of the layer: its norm runs
over all calibration samples and positions. A convolution's |W_cj| is the sum over its kernel's positions; in a grouped
or depthwise one, j runs over the inputs of c's own group. The input may be what no group holds: the image, or a map
that is kept whole. Coupled channels: the sum over their producing layers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agfedge.scores.registry import activation_score

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from agfedge.scores.activation import Activations
    from agfedge.scores.inputs import Scores

    # From |W| (parts, outputs, inputs) and ||X|| (parts, 1, inputs) to the worth of each weight.
    Worth = Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]

RIA_POWER = 0.5


@activation_score("flap")
def flap(statistics: Activations) -> Scores:
    """Variance of the channel, over samples and positions, times the squared norm of the weights that read it.

    Coupled channels: the sum over the layers that read them. Where no weight reads a channel (queries are met by keys),
    the norm is taken as one.
    """
    units, values = [], []
    for layer in statistics.layers:
        moments = statistics.of_layer(layer)
        if moments is not None and (layer.inputs >= 0).any():
            norms = (layer.weights() ** 2).sum(axis=(1, 3)).ravel()
            units.append(layer.inputs)
            values.append(moments.variance * norms)
    read = {layer.data for layer in statistics.layers}
    for group, start in zip(statistics.groups.groups, statistics.groups.offsets(), strict=False):
        for site in group.sites:
            moments = statistics.of_site(site)
            if moments is not None and site.tensor not in read:
                own = site.units.ravel()
                units.append(np.where(own >= 0, own + start, -1))
                values.append(moments.variance)
    return statistics.by_group(units, values, "flap")


@activation_score("wanda")
def wanda(statistics: Activations) -> Scores:
    """Sum over j of |W_cj| * ||X_j||_2, Sun et al., arXiv:2306.11695, equation 1; summed by channel."""
    return _summed(statistics, "wanda", lambda weights, norms: weights * norms)


@activation_score("ria")
def ria(statistics: Activations) -> Scores:
    """Sum over j of (|W_cj| / row sum + |W_cj| / column sum) * ||X_j||_2^a, Zhang et al., ICLR 2024, with a = 1/2.

    Relative importance and activations; the row is c's, the column is j's. A weight of an empty row or column is zero.
    """
    return _summed(statistics, "ria", _relative)


def _relative(weights: NDArray[np.float64], norms: NDArray[np.float64]) -> NDArray[np.float64]:
    sums = [weights.sum(axis=axis, keepdims=True) for axis in (1, 2)]
    shares = [np.divide(weights, total, out=np.zeros_like(weights), where=total > 0) for total in sums]
    worth: NDArray[np.float64] = (shares[0] + shares[1]) * norms**RIA_POWER
    return worth


def _summed(statistics: Activations, name: str, worth: Worth) -> Scores:
    units, values = [], []
    for layer in statistics.layers:
        moments = statistics.of_layer(layer)
        if moments is not None and (layer.outputs >= 0).any():
            weights = np.abs(layer.weights()).sum(axis=3)
            norms = np.sqrt(moments.squares).reshape(layer.parts, 1, -1)
            units.append(layer.outputs)
            values.append(worth(weights, norms).sum(axis=2).ravel())
    return statistics.by_group(units, values, name)
