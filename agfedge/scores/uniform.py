"""Random scores: the floor that every other score must beat."""

from __future__ import annotations

import numpy as np

from agfedge.scores.registry import ScoreInputs, Scores, score


@score("random")
def random(inputs: ScoreInputs) -> Scores:
    """Uniform in [0, 1), from the seed alone."""
    generator = np.random.default_rng(inputs.seed)
    return {group.name: generator.random(group.size) for group in inputs.groups.groups}
