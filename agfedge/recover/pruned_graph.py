"""What the pruned graph says of each tensor: its shape for any batch, its value where it is constant, its node."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

    # A size as (fixed, per sample): fixed + per sample * batch.
    Size = tuple[int, int]

_BATCHES = (2, 3)
# Of symbolic dimensions other than the batch.
_SPATIAL = 32
# Nodes between a group norm's result and the InstanceNormalization inside it, at most.
_NEAR = 64


@dataclass(frozen=True)
class PrunedGraph:
    """The pruned graph, by tensor name.

    Attributes:
        nodes: the node that makes a tensor.
        shapes: of every tensor whose shape is known.
        values: initializers, and what the graph computes from constants, whatever the batch.
        stored: names of the initializers and constants.
        output: the name of the logits.
    """

    nodes: dict[str, onnx.NodeProto]
    shapes: dict[str, tuple[Size, ...]]
    values: dict[str, NDArray[np.generic]]
    stored: frozenset[str]
    output: str

    def constant_input(self, name: str, position: int) -> NDArray[np.generic] | None:
        """Returns a constant input of the node that makes a tensor; None where there is none."""
        node = self.nodes.get(name)
        if node is None or position >= len(node.input):
            return None
        return self.values.get(node.input[position])

    def attribute(self, name: str, operator: str, attribute: str) -> int | None:
        """Returns an integer attribute of the node that makes a tensor, where that is of the given operator."""
        node = self.nodes.get(name)
        if node is None or node.op_type != operator:
            return None
        return next((int(each.i) for each in node.attribute if each.name == attribute), None)

    def groups_of_norm(self, name: str) -> int | None:
        """Returns the number of groups of a group norm: the channels of the instance norm which it is made of."""
        pending = [name]
        for _ in range(_NEAR):
            node = self.nodes.get(pending.pop(0)) if pending else None
            if node is None:
                continue
            if node.op_type == "InstanceNormalization":
                return len(self.values[node.input[1]]) if node.input[1] in self.values else None
            if node.op_type == "GroupNormalization":
                return self.attribute(node.output[0], "GroupNormalization", "num_groups")
            pending.extend(node.input)
        return None


def read_pruned(pruned: onnx.ModelProto) -> PrunedGraph:
    """Resolves the shapes of the pruned graph at two batch sizes, and takes down what both have in common.

    Raises:
        ModelError: shape inference fails.
    """
    import onnx

    from agfedge_export.graph.shape_values import concrete_shapes

    found = []
    for batch in _BATCHES:
        model = onnx.ModelProto()
        model.CopyFrom(pruned)
        found.append(concrete_shapes(model, batch, _SPATIAL))
    first, second = found
    values = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in pruned.graph.initializer}
    stored = frozenset(values) | {node.output[0] for node in pruned.graph.node if node.op_type == "Constant"}
    computed = {
        name: value
        for name, value in first.values.items()
        if name in second.values and np.array_equal(value, second.values[name])
    }
    shapes = {
        name: tuple(_size(*pair) for pair in zip(shape, second.shapes[name], strict=True))
        for name, shape in first.shapes.items()
        if len(second.shapes.get(name, ())) == len(shape)
    }
    nodes = {name: node for node in pruned.graph.node for name in node.output}
    return PrunedGraph(nodes, shapes, computed | values, stored, pruned.graph.output[0].name)


def _size(first: int, second: int) -> Size:
    """Returns a size as a line through two batch sizes."""
    slope = (second - first) // (_BATCHES[1] - _BATCHES[0])
    return first - slope * _BATCHES[0], slope
