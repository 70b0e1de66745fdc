"""Feature maps by ONNX tensor name.

The exported torch program is the ONNX graph before its translation: its node names are the graph's tensor names. It is
run node by node; each wanted map is handed out as soon as it is there, and is kept by nobody else.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch
    from torch.export import ExportedProgram
    from torch.export.graph_signature import InputSpec

    from agfedge_export.graph.from_torch import TorchExport
    from agfedge_export.graph.view import GraphView

    # Takes a node's name and value, and returns what the rest of the program goes on with.
    Visit = Callable[[str, torch.Tensor], torch.Tensor]

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
