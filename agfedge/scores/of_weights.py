"""Scores that need the graph alone: norms of the weights that produce a channel, and the floor of them all.

A norm runs over all producing filters as if they were one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agfedge.scores.inputs import ScoreInputs, Scores
from agfedge.scores.registry import score
from agfedge_export.channels.tracer import PRODUCES
from agfedge_export.graph.view import view_of

if TYPE_CHECKING:
    from numpy.typing import NDArray


@score("random")
def random(inputs: ScoreInputs) -> Scores:
    """Uniform in [0, 1), from the seed alone: what every other score must beat."""
    generator = np.random.default_rng(inputs.seed)
    return {group.name: generator.random(group.size) for group in inputs.groups.groups}


@score("l1")
def l1(inputs: ScoreInputs) -> Scores:
    """Sum of absolute weights of the channel's filters, Li et al., arXiv:1608.08710.

    Coupled channels: the sum over all producing filters.
    """
    return _summed(inputs, 1)


@score("l2")
def l2(inputs: ScoreInputs) -> Scores:
    """Root of the sum of squared weights of the channel's filters, Li et al., arXiv:1608.08710.

    Coupled channels: squares add up over all producing filters, before the root.
    """
    return {name: np.sqrt(values) for name, values in _summed(inputs, 2).items()}


@score("lamp")
def lamp(inputs: ScoreInputs) -> Scores:
    """Squared norm over the sum of those not smaller in the group, Lee et al., arXiv:2010.07611, equation 4.

    There it is said of single weights of a layer, here of whole channels of a group: u_c / sum of u_d over all d with
    u_d >= u_c. Within a group it ranks as `l2` does; the largest channel of every group scores one. Coupled channels:
    u_c adds up over all producing filters, before the division.
    """
    return {name: _lamp(squared) for name, squared in _summed(inputs, 2).items()}


def _lamp(squared: NDArray[np.float64]) -> NDArray[np.float64]:
    ascending = np.sort(squared)
    not_smaller = np.cumsum(ascending[::-1])[::-1][np.searchsorted(ascending, squared, side="left")]
    return np.divide(squared, not_smaller, out=np.zeros_like(squared), where=not_smaller > 0)


def _summed(inputs: ScoreInputs, power: int) -> dict[str, NDArray[np.float64]]:
    """Sums |w|^power over the producing filters (not biases nor norms) of every unit."""
    view = view_of(inputs.model)
    scores = {group.name: np.zeros(group.size) for group in inputs.groups.groups}
    for group in inputs.groups.groups:
        for member in group.members:
            weights = view.constant(member.tensor) if member.role == PRODUCES else None
            if weights is None or weights.ndim < 2:
                continue
            value = np.abs(weights.astype(np.float64)) ** power
            by_index = value.sum(axis=tuple(axis for axis in range(value.ndim) if axis != member.axis))
            own = member.units >= 0
            np.add.at(scores[group.name], member.units[own], by_index[own])
    return scores
