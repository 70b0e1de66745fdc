"""The calibration inputs that scores of data look at, batch by batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from agfedge.base.progress import bar
from agfedge_runtime.errors import InputError

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from agfedge.base.distributed import Team
    from agfedge.scores.registry import ScoreInputs
    from agfedge_export.graph.from_torch import TorchExport

DEFAULT_BATCH = 64


@dataclass(frozen=True, eq=False)
class Batch:
    """Some of the calibration inputs.

    Attributes:
        number: counted through all processes.
        x: float32 (B, ...).
        y: int64 (B,); empty where there are no labels.
    """

    number: int
    x: torch.Tensor
    y: torch.Tensor


@dataclass(frozen=True, eq=False)
class Drawn:
    """What a score of data needs, all of it there.

    Attributes:
        export: the model in torch.
        x: calibration inputs, float32 (N, ...).
        y: their labels, int64 (N,), or None.
        rows: intp (n,), the inputs that are looked at, in the order in which they are taken.
        batch_size: how many at a time.
        team: the processes that share the batches.
    """

    export: TorchExport
    x: NDArray[np.float32]
    y: NDArray[np.int64] | None
    rows: NDArray[np.intp]
    batch_size: int
    team: Team

    def batches(self) -> Iterator[Batch]:
        """Yields the batches of this process: every size-th of all."""
        import torch

        starts = list(enumerate(range(0, len(self.rows), self.batch_size)))[self.team.rank :: self.team.size]
        for number, start in bar(starts, title="score", unit="batch", silent=not self.team.leads, delay=1):
            chosen = self.rows[start : start + self.batch_size]
            x, y = (torch.from_numpy(each[chosen]) if each is not None else torch.empty(0) for each in (self.x, self.y))
            yield Batch(number, x, y)


def draw(inputs: ScoreInputs) -> Drawn:
    """Draws the calibration inputs that a score looks at.

    Raises:
        InputError: no torch program or data, no inputs, fewer than one batch, or an option below 1.
    """
    from agfedge.scores.registry import bare_score_names

    if inputs.export is None or inputs.x is None:
        *others, last = bare_score_names()
        raise InputError(
            f"this score needs the torch model and its data: use {', '.join(others)} or {last} for a bare graph"
        )
    for option, value in (("--samples", inputs.samples), ("--batch-size", inputs.batch_size)):
        if value is not None and value < 1:
            raise InputError(f"{option} is {value}: expected 1 or more")
    if not len(inputs.x):
        raise InputError("this score needs at least one calibration input: got an empty set")
    rows = np.random.default_rng(inputs.seed).permutation(len(inputs.x))[: inputs.samples]
    if inputs.batch_size is not None and len(rows) < inputs.batch_size:
        raise InputError(
            f"{len(rows)} calibration inputs are fewer than one batch of {inputs.batch_size}: give more data or "
            f"--batch-size {len(rows)}"
        )
    size = inputs.batch_size or min(DEFAULT_BATCH, len(rows))
    return Drawn(inputs.export, inputs.x, inputs.y, rows, size, inputs.team)
