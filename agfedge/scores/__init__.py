"""Channel scores: one utility for each channel of each group."""

from agfedge.scores.inputs import ScoreInputs, Scores
from agfedge.scores.registry import (
    activation_score,
    bare_score_names,
    check_score,
    gradient_score,
    score,
    score_groups,
    score_many,
    score_names,
)

__all__ = [
    "ScoreInputs",
    "Scores",
    "activation_score",
    "bare_score_names",
    "check_score",
    "gradient_score",
    "score",
    "score_groups",
    "score_many",
    "score_names",
]
