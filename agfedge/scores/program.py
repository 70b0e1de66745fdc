"""Feature maps by ONNX tensor name, batch by batch.

The exported torch program is the ONNX graph before its translation: its node names are the graph's tensor names. It is
run node by node; each wanted map is handed out as soon as it is there, and is kept by nobody else.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from agfedge_runtime.errors import InputError

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray
    from torch.export import ExportedProgram
    from torch.export.graph_signature import InputSpec

    from agfedge.scores.registry import ScoreInputs
    from agfedge_export.view import GraphView

    # Takes a node's name and value, and returns what the rest of the program goes on with.
    Visit = Callable[[str, torch.Tensor], torch.Tensor]

DEFAULT_BATCH = 64

# They change a map by one factor at most, so that its channels say the same on both sides.
_SCALINGS = frozenset(("Cast", "CastLike", "Div", "Identity", "Mul"))


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


def batches(inputs: ScoreInputs) -> Iterator[Batch]:
    """Yields the batches of this process: every size-th of all.

    Raises:
        InputError: no data, or fewer inputs than one batch that was asked for.
    """
    import torch

    rows = drawn(inputs)
    size = inputs.batch_size or min(DEFAULT_BATCH, len(rows))
    starts = list(enumerate(range(0, len(rows), size)))[inputs.team.rank :: inputs.team.size]
    silent = None if inputs.team.leads else True
    for number, start in tqdm(starts, desc="score", unit="batch", disable=silent, delay=1, leave=False):
        chosen = rows[start : start + size]
        x, y = (torch.from_numpy(each[chosen]) if each is not None else torch.empty(0) for each in (inputs.x, inputs.y))
        yield Batch(number, x, y)


def drawn(inputs: ScoreInputs) -> NDArray[np.intp]:
    """Returns the rows of the calibration inputs, in the order in which they are taken.

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
    return rows


class Program:
    """The exported torch program, run node by node."""

    def __init__(self, inputs: ScoreInputs) -> None:
        if inputs.export is None:
            drawn(inputs)  # which tells what is missing
            raise ValueError("unreachable")
        self._program = inputs.export.program
        self._view = inputs.groups.analysis.tracer.view
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

        class Reader(torch.fx.Interpreter):
            def run_node(self, n: torch.fx.Node) -> object:
                value: object = super().run_node(n)
                return visit(n.name, value) if n.name in wanted and isinstance(value, torch.Tensor) else value

        outputs = Reader(self._program.graph_module).run(
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
