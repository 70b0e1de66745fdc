"""Scores of gradients: what the loss would feel if a channel were gone.

They are made of g = sum over positions of Y_c * dL/dY_c, one sample's gradient with respect to a mask on channel c (its
value at a mask of one), or of the magnitudes of its terms. See `gradient` for Y_c, positions and places.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agfedge.scores.registry import gradient_score

if TYPE_CHECKING:
    import torch

    from agfedge.scores.gradient import ChannelGradients


@gradient_score("agf")
def agf(at: ChannelGradients) -> torch.Tensor:
    """AGF utility, Qian et al., arXiv:2603.12354: the mean over samples of the sum over positions of |Y * dL/dY|.

    The magnitude is taken element by element and sample by sample, before any sum, so that contributions of opposite
    sign do not cancel: it is never less than the magnitude of the signed sum. Coupled channels: the sum over places.
    """
    return at.product.abs().sum(dim=2)


@gradient_score("taylor")
def taylor(at: ChannelGradients) -> torch.Tensor:
    """First-order Taylor term, Molchanov et al., arXiv:1906.10771: the mean over samples of g squared.

    The gradient is each sample's own. Coupled channels: the sum over places of the squares, as of so many layers.
    """
    return at.signed.square()


@gradient_score("fisher", finish=lambda total: total.square() / 2)
def fisher(at: ChannelGradients) -> torch.Tensor:
    """Fisher pruning, Theis et al., arXiv:1801.05787: half of the mean over samples of g squared.

    Coupled channels have one mask among them (Liu et al., arXiv:2108.00708), whose gradient is the sum of g over all
    places: it is squared after that sum, where `taylor` squares before. For a channel that is read in one place only
    the two are the same but for the factor one half, and rank alike.
    """
    return at.signed
