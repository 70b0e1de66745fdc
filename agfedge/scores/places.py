"""The places of a network where channels are read: node, layout and units."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from agfedge.scores.layout import BatchAxis, Place

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from agfedge.scores.program import Program

    # A feature map: its ONNX name, the axes that channels run along, and their sizes.
    Where = tuple[str, tuple[int, ...], tuple[int, ...]]

logger = logging.getLogger(__name__)


def find_places(program: Program, wanted: Iterable[Where], x: NDArray[np.float32]) -> dict[Where, tuple[str, Place]]:
    """Finds the program's nodes for ONNX tensors, and how to arrange their values.

    Args:
        program: the program.
        wanted: the maps; those that have no counterpart in torch are left out, and counted in a warning.
        x: inputs, float32 (N, ...), of which two are run where samples and tokens share an axis.

    Returns:
        For each map its node's name and its layout.
    """
    asked = set(wanted)
    nodes = {where: node for where in asked if (node := program.node_of(where[0])) is not None}
    if len(nodes) < len(asked):
        logger.warning("%d of %d feature maps have no counterpart in torch", len(asked) - len(nodes), len(asked))
    axes = _batch_axes(program, set(nodes.values()), x)
    return {where: (node, Place(where[1], where[2], axes[node])) for where, node in nodes.items()}


def _batch_axes(program: Program, names: set[str], x: NDArray[np.float32]) -> dict[str, BatchAxis | None]:
    """Returns where each node's value has its samples. Its shape tells, unless they are folded into another axis."""
    found: dict[str, BatchAxis | None] = {}
    folded: dict[str, int] = {}
    for name in names:
        shape = program.shape(name)
        terms = [axis for axis, size in enumerate(shape) if not size.isdigit()]
        if program.batch in shape:
            found[name] = BatchAxis(shape.index(program.batch))
        elif terms:
            folded[name] = terms[0]
        else:
            found[name] = None
    lasts = _samples_last(program, folded, x) if folded else frozenset()
    return found | {name: BatchAxis(axis, name in lasts) for name, axis in folded.items()}


def _samples_last(program: Program, folded: Mapping[str, int], x: NDArray[np.float32]) -> frozenset[str]:
    """Returns in which maps the sample changes fastest: runs two inputs, and sees where a change of the second shows.

    Where it shows nowhere, the sample is taken to change slowest, as torch's own reshapes leave it.
    """
    import torch

    values: dict[str, list[torch.Tensor]] = {name: [] for name in folded}

    def keep(name: str, value: torch.Tensor) -> torch.Tensor:
        values[name].append(value.detach().movedim(folded[name], 0).flatten(1))
        return value

    pair = np.resize(x, (2, *x.shape[1:]))
    with torch.no_grad():
        for second in (pair[1], pair[1] + pair.std() + 1):
            program.run(torch.from_numpy(np.stack([pair[0], second]).astype(np.float32)), folded, keep)
    changed = {name: (before != after).any(dim=1).numpy() for name, (before, after) in values.items()}
    return frozenset(name for name, rows in changed.items() if rows.reshape(2, -1)[0].any() and rows[1::2].any())
