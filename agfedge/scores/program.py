"""Feature maps by ONNX tensor name, and where samples and channels lie in them.

The exported torch program is the ONNX graph before its translation: its node names are the graph's tensor names. It is
run node by node; each wanted map is handed out as soon as it is there, and is kept by nobody else. Whatever its layout,
its channels are then looked at as (samples, channels, positions).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray
    from torch.export import ExportedProgram
    from torch.export.graph_signature import InputSpec

    from agfedge_export.graph.from_torch import TorchExport
    from agfedge_export.graph.view import GraphView

    # Takes a node's name and value, and returns what the rest of the program goes on with.
    Visit = Callable[[str, torch.Tensor], torch.Tensor]
    # A feature map: its ONNX name, the axes that channels run along, and their sizes.
    Where = tuple[str, tuple[int, ...], tuple[int, ...]]

logger = logging.getLogger(__name__)

# They change a map by one factor at most, so that its channels say the same on both sides.
_SCALINGS = frozenset(("Cast", "CastLike", "Div", "Identity", "Mul"))


class TorchProgram:
    """The exported torch program, run node by node.

    Args:
        export: the model in torch.
        view: of the ONNX graph that the program became.
    """

    def __init__(self, export: TorchExport, view: GraphView) -> None:
        self._program = export.program
        self._view = view
        self._nodes = {node.name: node for node in self._program.graph_module.graph.nodes}
        self._input = str(self._program.graph_signature.user_inputs[0])
        self._state = {str(spec.target): str(spec.arg.name) for spec in self._program.graph_signature.input_specs}
        self._arguments = [_argument(self._program, spec) for spec in self._program.graph_signature.input_specs]

    def node_of(self, tensor: str) -> str | None:
        """Returns the node that computes an ONNX tensor, or None where torch has no counterpart.

        Queries that the translation scaled stand for those before: a factor changes no product Y * dL/dY and no order.
        """
        if tensor in self._view.graph_inputs:
            return self._input
        tensor = self._state.get(tensor, tensor)
        while tensor not in self._nodes:
            unscaled = _unscaled(self._view, tensor)
            if unscaled is None:
                return None
            tensor = unscaled
        return tensor

    def shape(self, name: str) -> tuple[str, ...]:
        """Returns the sizes of a node's value, as numbers or terms of the batch's size."""
        return tuple(str(size) for size in self._nodes[name].meta["val"].shape)

    @property
    def batch(self) -> str:
        """The term of the batch's size."""
        return self.shape(self._input)[0]

    @property
    def classes(self) -> int:
        """The number of logits."""
        return int(self.shape(str(self._program.graph_signature.user_outputs[0]))[-1])

    def run(self, x: torch.Tensor, wanted: Collection[str], visit: Visit) -> torch.Tensor:
        """Runs the program on one batch, lets `visit` see the wanted nodes' values, and returns the logits."""
        import torch
        from torch.export.graph_signature import OutputKind

        class MapReader(torch.fx.Interpreter):
            def run_node(self, n: torch.fx.Node) -> object:
                value: object = super().run_node(n)
                return visit(n.name, value) if n.name in wanted and isinstance(value, torch.Tensor) else value

        outputs = MapReader(self._program.graph_module).run(
            *(x if argument is None else argument for argument in self._arguments)
        )
        # Buffers that the module changes come first.
        (logits,) = (
            output
            for output, spec in zip(outputs, self._program.graph_signature.output_specs, strict=True)
            if spec.kind is OutputKind.USER_OUTPUT
        )
        return logits  # type: ignore[no-any-return]  # torch types an interpreter's results as Any


def _unscaled(view: GraphView, tensor: str) -> str | None:
    """Returns what a node multiplies by one number to make a tensor, or None."""
    node = view.producer.get(tensor)
    if node is None or node.op not in _SCALINGS or node.domain:
        return None
    shape = view.shape(tensor)
    factors = [name for name in node.inputs if np.prod(view.shape(name) or ()) == 1 or node.op == "CastLike"]
    first, *others = node.inputs
    if view.shape(first) == shape and all(name in factors for name in others):
        return first
    return others[0] if node.op == "Mul" and first in factors and view.shape(others[0]) == shape else None


def _argument(program: ExportedProgram, spec: InputSpec) -> object:
    """Returns the program's own state for one of its inputs, frozen; None for the batch."""
    import torch
    from torch.export.graph_signature import InputKind

    if spec.kind is InputKind.USER_INPUT:
        return None
    value = {**program.state_dict, **program.constants}[str(spec.target)]
    return value.detach() if isinstance(value, torch.Tensor) else value


@dataclass(frozen=True)
class BatchAxis:
    """The axis along which a map's samples lie.

    Attributes:
        axis: its number; other indices (tokens, windows, heads) may be folded into it.
        last: whether the sample is what changes fastest along it, as in (tokens * samples, channels).
    """

    axis: int
    last: bool = False


@dataclass(frozen=True, eq=False)
class Place:
    """Channels of one feature map.

    Attributes:
        axes: the axes that they run along.
        sizes: of those axes; where heads are folded into the batch's axis, the number of heads.
        batch: where the samples are; None for a map that is made of parameters alone.
    """

    axes: tuple[int, ...]
    sizes: tuple[int, ...]
    batch: BatchAxis | None

    def arranged(self, value: torch.Tensor, samples: int) -> torch.Tensor:
        """Returns a map as (samples, channels, positions); a map without samples as (1, channels, positions)."""
        if self.batch is None:
            return self._moved(value.unsqueeze(0), 0, tuple(axis + 1 for axis in self.axes))
        at = self.batch.axis
        inner = self.sizes[self.axes.index(at)] if at in self.axes else 1
        outer = value.shape[at] // (samples * inner)
        parts = (outer, inner, samples) if self.batch.last else (samples, outer, inner)
        batch, heads = (at + 2, at + 1) if self.batch.last else (at, at + 2)
        axes = tuple(heads if axis == at else axis + 2 * (axis > at) for axis in self.axes)
        split = value.reshape((*value.shape[:at], *parts, *value.shape[at + 1 :]))
        return self._moved(split, batch, axes)

    def _moved(self, value: torch.Tensor, batch: int, axes: tuple[int, ...]) -> torch.Tensor:
        moved = value.movedim((batch, *axes), tuple(range(len(axes) + 1)))
        return moved.reshape(len(moved), int(np.prod(self.sizes)), -1)


@dataclass(frozen=True, eq=False)
class UnitIndex:
    """Which unit each channel of a map belongs to; a unit may have many, one for each pixel of a flattened map.

    Attributes:
        units: int64 (U,), the units that are there.
        channels: int64 (U, most), their channels, the count of channels where a unit has fewer; None where channel
            c is unit c.
    """

    units: NDArray[np.int64]
    channels: NDArray[np.int64] | None

    @classmethod
    def of(cls, units: NDArray[np.int64]) -> UnitIndex:
        """Makes the index of channels whose units, -1 for none, are given."""
        flat = units.ravel()
        present, counts = np.unique(flat[flat >= 0], return_counts=True)
        if np.array_equal(flat, np.arange(len(flat))):
            return cls(present, None)
        channels = np.full((len(present), int(counts.max(initial=1))), len(flat), dtype=np.int64)
        for row, unit in enumerate(present):
            own = np.flatnonzero(flat == unit)
            channels[row, : len(own)] = own
        return cls(present, channels)

    def gathered(self, value: torch.Tensor) -> torch.Tensor:
        """Turns (B, channels, positions) into (B, U, positions of all channels), with zeros where there are fewer."""
        import torch

        if self.channels is None:
            return value
        if self.channels.max(initial=0) == value.shape[1]:
            value = torch.cat([value, value.new_zeros(len(value), 1, value.shape[2])], dim=1)
        index = torch.from_numpy(self.channels)
        return value[:, index.flatten()].reshape(len(value), len(index), -1)


def find_places(
    program: TorchProgram, wanted: Iterable[Where], x: NDArray[np.float32]
) -> dict[Where, tuple[str, Place]]:
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


def _batch_axes(program: TorchProgram, names: set[str], x: NDArray[np.float32]) -> dict[str, BatchAxis | None]:
    """Returns where each node's value has its samples. Its shape tells, unless they are folded into another axis."""
    axes: dict[str, BatchAxis | None] = {}
    folded: dict[str, int] = {}
    for name in names:
        shape = program.shape(name)
        terms = [axis for axis, size in enumerate(shape) if not size.isdigit()]
        if program.batch in shape:
            axes[name] = BatchAxis(shape.index(program.batch))
        elif terms:
            folded[name] = terms[0]
        else:
            axes[name] = None
    lasts = _samples_last(program, folded, x) if folded else frozenset()
    return axes | {name: BatchAxis(axis, name in lasts) for name, axis in folded.items()}


def _samples_last(program: TorchProgram, folded: Mapping[str, int], x: NDArray[np.float32]) -> frozenset[str]:
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
