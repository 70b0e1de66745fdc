"""What is measured of one light expert, and the folder that keeps it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agfedge.base.store import Store

# Pseudo-scores: the unpruned model, and the small architecture trained from random weights.
HEAVY, SCRATCH = "heavy", "scratch"


@dataclass(frozen=True)
class Point:
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


def store_of(folder: Path, identity: Mapping[str, object]) -> Store[Point]:
    """Opens the points of a comparison, or makes their folder.

    Raises:
        InputError: the folder holds another comparison's points.
    """
    return Store(folder, "comparison", identity, _read)


def _read(document: Mapping[str, Any]) -> Point:
    point = Point(**document)
    shares = [each for each in (point.one_shot, point.reestimated, point.recovered) if each is not None]
    if not all(math.isfinite(each) and 0 <= each <= 1 for each in shares) or point.samples < 1:
        raise ValueError("an accuracy is no share")
    return point
