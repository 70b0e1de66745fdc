"""Channel scores: one utility for each channel of each group."""

from agfedge.scores.registry import ScoreInputs, Scores, check_score, score, score_groups, score_names

__all__ = ["ScoreInputs", "Scores", "check_score", "score", "score_groups", "score_names"]
