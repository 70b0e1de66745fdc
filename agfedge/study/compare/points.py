"""What is measured of one light expert, and the folder that keeps it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from agfedge.base.statistics import Estimate
from agfedge.base.store import Store

# Pseudo-scores: the unpruned model, and the small architecture trained from random weights.
HEAVY, SCRATCH = "heavy", "scratch"


@dataclass(frozen=True)
class ComparePoint:
    """One light expert.

    Attributes:
        score: name of the score that chose its channels.
        keep: share of every group's channels that stayed.
        seed: of calibration samples, random scores and training.
        samples: test images behind each accuracy.
        one_shot: accuracy on the held-out inputs right after surgery, in [0, 1]; None where it was not measured.
        reestimated: after batch normalisation saw the calibration inputs.
        recovered: after fine-tuning.
        macs: of the pruned graph, multiply-accumulates.
        parameters: likewise.
        training: "slimmed" or "masked" and the like, for what was fine-tuned; empty without.
        epochs: best epoch of the fine-tuning.
    """

    score: str
    keep: float
    seed: int
    samples: int
    macs: int
    parameters: int
    one_shot: float | None = None
    reestimated: float | None = None
    recovered: float | None = None
    training: str = ""
    epochs: int = 0

    @property
    def key(self) -> str:
        """Names the point's file."""
        return f"{self.score}-{self.keep:g}-{self.seed}"


def store_of(folder: Path, identity: Mapping[str, object]) -> Store[ComparePoint]:
    """Opens the points of a comparison, or makes their folder.

    Raises:
        InputError: the folder holds another comparison's points.
    """
    return Store(folder, "comparison", identity, _read)


def _read(document: Mapping[str, Any]) -> ComparePoint:
    point = ComparePoint(**document)
    shares = [share for share in (point.one_shot, point.reestimated, point.recovered) if share is not None]
    if not all(math.isfinite(share) and 0 <= share <= 1 for share in shares) or point.samples < 1:
        raise ValueError("an accuracy is no share")
    return point


STAGES = ("one_shot", "reestimated", "recovered")


@dataclass(frozen=True)
class MeanAccuracy(Estimate):
    """A mean accuracy over seeds, in [0, 1], with its 95% interval.

    Attributes:
        error: standard error: of the seeds, and of the test images.
        freedom: degrees of freedom of that error (Welch-Satterthwaite); infinite where seeds make no difference.
        seeds: how many there are.
    """

    error: float
    freedom: float
    seeds: int


@dataclass(frozen=True)
class ScoreRow:
    """One score at one width.

    Attributes:
        score: its name.
        keep: share of the channels that stayed.
        macs: mean over seeds.
        parameters: likewise.
        one_shot: accuracy right after surgery; None where it was not measured.
        reestimated: after batch normalisation saw calibration inputs.
        recovered: after fine-tuning.
    """

    score: str
    keep: float
    macs: float
    parameters: float
    one_shot: MeanAccuracy | None
    reestimated: MeanAccuracy | None
    recovered: MeanAccuracy | None

    @property
    def accuracies(self) -> tuple[MeanAccuracy | None, ...]:
        """All three, in the order of the stages."""
        return self.one_shot, self.reestimated, self.recovered


@dataclass(frozen=True)
class Claim:
    """A difference between two scores at one width and stage, which its interval separates from zero.

    Attributes:
        better: the score that is better.
        worse: the other.
        keep: the width.
        stage: where.
        difference: of the mean accuracies, above 0.
        low: of the difference's 95% interval, above 0.
        high: likewise.
    """

    better: str
    worse: str
    keep: float
    stage: str
    difference: float
    low: float
    high: float


def rows_of(points: Sequence[ComparePoint]) -> list[ScoreRow]:
    """Averages the points over seeds; widest first, then by the score's first appearance."""
    cells: dict[tuple[float, str], list[ComparePoint]] = {}
    for point in points:
        cells.setdefault((point.keep, point.score), []).append(point)
    return [
        ScoreRow(
            score,
            keep,
            float(np.mean([point.macs for point in seeds])),
            float(np.mean([point.parameters for point in seeds])),
            *(_accuracy(seeds, stage) for stage in STAGES),
        )
        for (keep, score), seeds in sorted(cells.items(), key=lambda item: -item[0][0])
    ]


def claims_of(rows: Sequence[ScoreRow], score: str) -> list[Claim]:
    """Returns where a score is better or worse than another, as far as a 95% interval says so.

    The interval takes the two as independent. They were judged on the same test images, which only makes the true
    interval narrower.
    """
    pairs = (
        (ours, theirs)
        for ours in rows
        for theirs in rows
        if ours.score == score and theirs.score != score and theirs.keep == ours.keep
    )
    claims = (_claim(*pair, stage) for pair in pairs for stage in STAGES)
    return [claim for claim in claims if claim is not None]


def _accuracy(points: Sequence[ComparePoint], stage: str) -> MeanAccuracy | None:
    from scipy.stats import t

    measured = [point for point in points if getattr(point, stage) is not None]
    if not measured:
        return None
    values = np.array([getattr(point, stage) for point in measured])
    mean, images = float(values.mean()), min(point.samples for point in measured)
    between = float(values.var(ddof=1)) / len(values) if len(values) > 1 else 0.0
    # All seeds share one test split: averaging over seeds does not make it larger.
    within = max(mean * (1 - mean), 1 / images) / images
    error = math.sqrt(between + within)
    freedom = (between + within) ** 2 / (between**2 / (len(values) - 1)) if between > 0 else math.inf
    half = float(t.ppf(0.975, freedom)) * error
    return MeanAccuracy(mean, max(0.0, mean - half), min(1.0, mean + half), error, freedom, len(values))


def _claim(ours: ScoreRow, theirs: ScoreRow, stage: str) -> Claim | None:
    from scipy.stats import t

    a, b = getattr(ours, stage), getattr(theirs, stage)
    if a is None or b is None or a.value == b.value:
        return None
    error = math.hypot(a.error, b.error)
    freedom = (
        error**4 / (a.error**4 / a.freedom + b.error**4 / b.freedom)
        if min(a.freedom, b.freedom) < math.inf
        else math.inf
    )
    half = float(t.ppf(0.975, freedom)) * error
    difference = abs(a.value - b.value)
    if difference <= half:
        return None
    better, worse = (ours, theirs) if a.value > b.value else (theirs, ours)
    return Claim(better.score, worse.score, ours.keep, stage, difference, difference - half, difference + half)
