"""The table of channel scores: `@score("l1")` registers a function under a name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

import numpy as np

from agfedge_runtime.errors import InputError

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

    from agfedge_export import ChannelGroups
    from agfedge_export.from_torch import TorchExport

Scores = Mapping[str, "NDArray[np.float64]"]


@dataclass(frozen=True)
class ScoreInputs:
    """What a score may look at.

    Attributes:
        groups: the channel groups of `model`.
        model: the heavy expert's graph.
        export: the same graph in torch, or None for a bare ONNX file.
        x: calibration inputs as the model takes them, float32 (N, ...), or None.
        y: their labels, int64 (N,), or None.
        batches: how many batches of `batch_size` a gradient score averages over.
        seed: of everything that is drawn.
    """

    groups: ChannelGroups
    model: onnx.ModelProto
    export: TorchExport | None = None
    x: NDArray[np.float32] | None = None
    y: NDArray[np.int64] | None = None
    batches: int = 16
    batch_size: int = 64
    seed: int = 0


ScoreFunction = Callable[[ScoreInputs], Scores]

_FAMILIES = ("gradient", "magnitude", "uniform")
_SCORES: dict[str, ScoreFunction] = {}


def score(name: str) -> Callable[[ScoreFunction], ScoreFunction]:
    """Registers a score: for each group's name float64 (size,), higher is worth more.

    Raises:
        ValueError: the name is taken.
    """

    def register(function: ScoreFunction) -> ScoreFunction:
        if name in _SCORES:
            raise ValueError(f"score {name!r} is registered already")
        _SCORES[name] = function
        return function

    return register


def score_names() -> list[str]:
    """Returns the known scores, sorted."""
    for family in _FAMILIES:
        import_module(f"agfedge.scores.{family}")
    return sorted(_SCORES)


def check_score(name: str) -> None:
    """Refuses a score that nobody registered.

    Raises:
        InputError: lists the known ones.
    """
    known = score_names()
    if name not in known:
        raise InputError(f"no score is called {name!r}: expected one of {', '.join(known)}")


def score_groups(name: str, inputs: ScoreInputs) -> Scores:
    """Scores every channel of every group.

    Returns:
        For each group's name, float64 (size,): higher is worth more.

    Raises:
        InputError: an unknown score (the known ones are listed), or one that is not finite.
    """
    check_score(name)
    scores = _SCORES[name](inputs)
    for group, values in scores.items():
        if not np.isfinite(values).all():
            raise InputError(
                f"score {name!r} is not finite for group {group!r}: check the weights and the data for NaN"
            )
    return scores
