"""Magnitude scores: norms of the weights that produce a channel.

Li et al., "Pruning Filters for Efficient ConvNets", arXiv:1608.08710. For coupled channels the norm is taken over all
producing filters together, as if they were one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agfedge.scores.registry import ScoreInputs, Scores, score
from agfedge_export.tracer import PRODUCES
from agfedge_export.view import view_of

if TYPE_CHECKING:
    from numpy.typing import NDArray


@score("l1")
def l1(inputs: ScoreInputs) -> Scores:
    """Sum of absolute weights of the channel's filters."""
    return _summed(inputs, 1)


@score("l2")
def l2(inputs: ScoreInputs) -> Scores:
    """Root of the sum of squared weights of the channel's filters."""
    return {name: np.sqrt(values) for name, values in _summed(inputs, 2).items()}


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
