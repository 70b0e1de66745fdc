"""What a graph costs: bytes, multiply-accumulates, parameters."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from agfedge_export.graph.model_io import FLOAT_TYPES, model_bytes
from agfedge_export.graph.view import GraphView, NodeView, view_of

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True)
class GraphCosts:
    """What a graph, or a part of it, costs.

    Attributes:
        size_bytes: what it takes on disk, graph and weights; of a part, its weights alone.
        macs: multiply-accumulates of convolutions and matrix products for one input (batch size 1).
        parameters: numbers in floating-point initializers and Constant nodes of at least one dimension.
    """

    size_bytes: int
    macs: int
    parameters: int


def graph_costs(model: onnx.ModelProto) -> GraphCosts:
    """Counts bytes, multiply-accumulates and parameters.

    Raises:
        ModelError: shapes cannot be inferred.
    """
    view = view_of(model)
    return GraphCosts(model_bytes(model), sum(node_macs(view, node) for node in view.nodes), _parameters(model))


def node_macs(view: GraphView, node: NodeView) -> int:
    """Returns the multiply-accumulates of one node at batch size 1; 0 for anything but products and convolutions."""
    if node.op not in ("Conv", "ConvTranspose", "Gemm", "MatMul"):
        return 0
    left, right, output = (view.shape(name) for name in (node.inputs[0], node.inputs[1], node.outputs[0]))
    if left is None or right is None or output is None:
        return 0
    if node.op == "Conv":
        return prod(output) * prod(right[1:])
    if node.op == "ConvTranspose":
        return prod(left) * prod(right[1:])
    depth = left[-2] if node.op == "Gemm" and node.attributes.get("transA", 0) else left[-1]
    return prod(output) * depth


def _parameters(model: onnx.ModelProto) -> int:
    constants = [attribute for node in model.graph.node if node.op_type == "Constant" for attribute in node.attribute]
    tensors = [*model.graph.initializer, *(attribute.t for attribute in constants if attribute.name == "value")]
    return sum(prod(tensor.dims) for tensor in tensors if tensor.data_type in FLOAT_TYPES and tensor.dims)
