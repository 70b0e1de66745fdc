"""FLAP: how much a channel varies, times what reads it.

An et al., "Fluctuation-based Adaptive Structured Pruning for Large Language Models", arXiv:2312.11983. A channel that
hardly varies can be replaced by its mean, which is folded into the next layer's bias. That folding is compensation
after the cut, and no part of the score: re-estimated batch normalisation or recovery takes its place here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agfedge.scores.registry import Scores, activation_score

if TYPE_CHECKING:
    from agfedge.scores.activation import Activations


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
