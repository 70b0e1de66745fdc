"""What scores may look at: the graph, the model in torch, and calibration inputs, batch by batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from agfedge.base.distributed import Team
from agfedge.base.progress import bar
from agfedge_runtime.errors import InputError

if TYPE_CHECKING:
    import onnx
    import torch
    from numpy.typing import NDArray

    from agfedge_export import ChannelGroups
    from agfedge_export.graph.from_torch import TorchExport

# For each group's name float64 (size,): higher is worth more.
Scores = Mapping[str, "NDArray[np.float64]"]
DEFAULT_BATCH = 64


@dataclass(frozen=True)
class ScoreInputs:
    """What a score may look at.

    Attributes:
        groups: the channel groups of `model`.
        model: the heavy expert's graph.
        export: the same graph in torch, or None for a bare ONNX file.
        x: calibration inputs as the model takes them, float32 (N, ...), or None.
        y: their labels, int64 (N,), or None.
        samples: how many of the inputs a score of data looks at, drawn with the seed; all where there are fewer.
        batch_size: how many at a time, which bounds the memory and leaves the scores alone; None takes up to 64.
        seed: of everything that is drawn.
        team: the processes that share the batches; each holds all of the data.
    """

    groups: ChannelGroups
    model: onnx.ModelProto
    export: TorchExport | None = None
    x: NDArray[np.float32] | None = None
    y: NDArray[np.int64] | None = None
    samples: int = 1024
    batch_size: int | None = None
    seed: int = 0
    team: Team = field(default_factory=Team)


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
    if inputs.export is None or inputs.x is None:
        raise InputError("this score needs the torch model and its data")
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
