"""Gradient scores: what the loss would feel if a channel were gone.

AGF utility, Qian et al., "Alternating Gradient Flow Utility", arXiv:2603.12354:

    U_c = (1/T) sum_t E_{x in batch t} [ | Y_c(x) * dL/dY_c(x) | ]

with the absolute value taken element by element and sample by sample, before any sum, so that contributions of
opposite sign do not cancel. `taylor` is the signed, squared first-order term of Molchanov et al., arXiv:1906.10771.

Y_c is the channel's feature map as the next linear layer reads it, after normalisation and activation. A group's unit
that is read in several places (a residual stream) is worth the sum over those places.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from agfedge.scores.feature_maps import feature_map_gradients
from agfedge.scores.registry import ScoreInputs, Scores, score

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    # (feature map, its gradient), both (B, ...), and the channel axis -> the batch's sum, one number an index.
    Reduce = Callable[[torch.Tensor, torch.Tensor, int], torch.Tensor]


@score("agf")
def agf(inputs: ScoreInputs) -> Scores:
    """AGF utility: mean over samples of the sum over positions of |Y * dL/dY|."""
    return _accumulated(inputs, _absolute_product)


@score("taylor")
def taylor(inputs: ScoreInputs) -> Scores:
    """Mean over samples of (sum over positions of Y * dL/dY) squared."""
    return _accumulated(inputs, _squared_signed_product)


def _absolute_product(feature_map: torch.Tensor, gradient: torch.Tensor, axis: int) -> torch.Tensor:
    others = [each for each in range(feature_map.ndim) if each != axis]
    return (feature_map * gradient).abs().double().sum(dim=others)


def _squared_signed_product(feature_map: torch.Tensor, gradient: torch.Tensor, axis: int) -> torch.Tensor:
    positions = [each for each in range(1, feature_map.ndim) if each != axis]
    product = (feature_map * gradient).double()
    by_sample = product.sum(dim=positions) if positions else product
    return (by_sample**2).sum(dim=0)


def _accumulated(inputs: ScoreInputs, reduce: Reduce) -> dict[str, NDArray[np.float64]]:
    """Averages a reduction of (Y, dL/dY) over samples, and adds up each unit's indices and places."""
    sites = {(site.tensor, site.axis) for group in inputs.groups.groups for site in group.sites}
    totals: dict[tuple[str, int], NDArray[np.float64]] = {}
    samples = 0
    for maps, count in feature_map_gradients(inputs, sorted({tensor for tensor, _ in sites})):
        samples += count
        for tensor, axis in sites:
            if tensor in maps:
                value = reduce(*maps[tensor], axis).numpy()
                totals[tensor, axis] = totals.get((tensor, axis), 0.0) + value
    scores = {group.name: np.zeros(group.size) for group in inputs.groups.groups}
    for group in inputs.groups.groups:
        for site in group.sites:
            if (site.tensor, site.axis) in totals:
                own = site.units >= 0
                by_index = totals[site.tensor, site.axis] / samples
                np.add.at(scores[group.name], site.units[own], by_index[own])
    return scores
