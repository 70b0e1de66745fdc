"""Gradient scores: what the loss would feel if a channel were gone.

AGF utility, Qian et al., "Alternating Gradient Flow Utility", arXiv:2603.12354:

    U_c = (1/T) sum_t E_{x in batch t} [ | Y_c(x) * dL/dY_c(x) | ]

with the absolute value taken element by element and sample by sample, before any sum, so that contributions of
opposite sign do not cancel. `taylor` is the signed, squared first-order term of Molchanov et al., arXiv:1906.10771.

Y_c is the channel's feature map as the next linear layer reads it, after normalisation and activation. Where that layer
reads a flattened map, all of a channel's entries are its positions. A group's unit that is read in several places (a
residual stream) is worth the sum over those places.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from agfedge.scores.feature_maps import feature_map_gradients
from agfedge.scores.registry import ScoreInputs, Scores, score
from agfedge_runtime.errors import InputError

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from agfedge.scores.feature_maps import FeatureMaps
    from agfedge_export import Group, Site

    Elementwise = Callable[[torch.Tensor], torch.Tensor]


@score("agf")
def agf(inputs: ScoreInputs) -> Scores:
    """AGF utility: mean over samples of the sum over positions of |Y * dL/dY|."""
    return _accumulated(inputs, position=lambda product: product.abs(), channel=lambda total: total)


@score("taylor")
def taylor(inputs: ScoreInputs) -> Scores:
    """Mean over samples of (sum over positions of Y * dL/dY) squared."""
    return _accumulated(inputs, position=lambda product: product, channel=lambda total: total**2)


def _accumulated(inputs: ScoreInputs, position: Elementwise, channel: Elementwise) -> dict[str, NDArray[np.float64]]:
    """Averages over samples the sum over places of `channel(sum over positions of position(Y * dL/dY))`.

    Raises:
        InputError: a group whose channels no gradient reaches.
    """
    groups = inputs.groups.groups
    scores = {group.name: np.zeros(group.size) for group in groups}
    samples = 0
    for maps, count in feature_map_gradients(inputs, sorted({site.tensor for group in groups for site in group.sites})):
        samples += count
        for group in groups:
            for site in _reached(group, maps):
                by_index = position(_products(maps, site)).sum(dim=2)
                scores[group.name] += channel(_by_unit(by_index, site, group.size)).sum(dim=0).numpy()
    return {name: values / samples for name, values in scores.items()}


def _reached(group: Group, maps: FeatureMaps) -> list[Site]:
    sites = [site for site in group.sites if site.tensor in maps]
    if not sites:
        raise InputError(
            f"no gradient reaches the channels of {group.name}: use a score that needs none (l1, l2), or find what "
            "detaches them in the model's code"
        )
    return sites


def _products(maps: FeatureMaps, site: Site) -> torch.Tensor:
    """Returns Y * dL/dY as float64 (B, channels along the site's axes, positions)."""
    feature_map, gradient = maps[site.tensor]
    product, axes = (feature_map * gradient).double(), site.axes
    if axes[0] == 0:  # heads folded into the batch, or a map without a batch that is made from parameters alone
        product = product.reshape(-1, site.units.shape[0], *product.shape[1:])
        axes = tuple(axis + 1 for axis in axes)
    moved = product.movedim(axes, tuple(range(1, len(axes) + 1)))
    return moved.reshape(len(moved), site.units.size, -1)


def _by_unit(by_index: torch.Tensor, site: Site, size: int) -> torch.Tensor:
    """Adds up (B, channels along the site's axes) to (B, size), by the unit at each index."""
    import torch

    units = site.units.ravel()
    own = torch.from_numpy(np.flatnonzero(units >= 0))
    return by_index.new_zeros(len(by_index), size).index_add_(1, torch.from_numpy(units)[own], by_index[:, own])
