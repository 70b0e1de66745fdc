"""Batch norms of a graph at inference, folded into the convolutions before them or written as a product and a sum.

Either is computed in float64, so that a tiny variance is never rounded to a type that cannot hold it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from agfedge_export.graph.model_io import copied
from agfedge_export.graph.view import GraphView, NodeView, inner_reads, view_of

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

    Doubles = NDArray[np.float64]

_EPSILON = 1e-5  # ONNX's default


def without_batch_norms(model: onnx.ModelProto) -> onnx.ModelProto:
    """Returns the graph without batch norms whose parameters are constant; the model passed in is not changed.

    Raises:
        ModelError: shapes cannot be inferred.
    """
    import onnx

    view = view_of(model)
    made = copied(model)
    replaced: dict[int, list[onnx.NodeProto]] = {}
    weights: dict[str, NDArray[Any]] = {}
    for node in view.nodes:
        factors = _factors(view, node)
        if factors is None:
            continue
        convolution = _convolution(view, node)
        if convolution is not None:
            replaced[convolution.index] = [_folded(view, convolution, node, factors, weights)]
            replaced[node.index] = []
        elif view.shape(node.inputs[0]) is not None:
            replaced[node.index] = _written(view, node, factors, weights)
    if not replaced:
        return made
    nodes = [each for node in view.nodes for each in replaced.get(node.index, [node.proto])]
    del made.graph.node[:], made.graph.value_info[:]
    made.graph.node.extend(nodes)
    made.graph.initializer.extend(onnx.numpy_helper.from_array(value, name) for name, value in weights.items())
    drop_unread(made)
    return made


def drop_unread(model: onnx.ModelProto) -> None:
    """Removes initializers that nothing reads, in place."""
    read = {name for node in model.graph.node for name in (*node.input, *inner_reads(node))}
    read.update(value.name for value in model.graph.output)
    for index in range(len(model.graph.initializer) - 1, -1, -1):
        if model.graph.initializer[index].name not in read:
            del model.graph.initializer[index]


def _factors(view: GraphView, node: NodeView) -> tuple[Doubles, Doubles] | None:
    """Returns what a batch norm multiplies by and adds, a channel each."""
    if node.op != "BatchNormalization" or node.domain or node.attributes.get("training_mode", 0):
        return None
    if any(node.outputs[1:]):
        return None
    constants = [view.constant(name) for name in node.inputs[1:5]]
    if any(each is None for each in constants):
        return None
    scale, bias, mean, variance = (np.asarray(each, dtype=np.float64) for each in constants)
    factor = scale / np.sqrt(variance + node.attributes.get("epsilon", _EPSILON))
    return factor, bias - mean * factor


def _convolution(view: GraphView, norm: NodeView) -> NodeView | None:
    """Returns the convolution that a batch norm alone reads, where its weights are constant."""
    source = norm.inputs[0]
    node = view.producer.get(source)
    if node is None or node.op != "Conv" or source in view.graph_outputs or len(view.consumers[source]) > 1:
        return None
    if any(source in reader.inner_reads for reader in view.nodes):
        return None
    return node if all(view.constant(name) is not None for name in node.inputs[1:] if name) else None


def _folded(
    view: GraphView, node: NodeView, norm: NodeView, factors: tuple[Doubles, Doubles], weights: dict[str, NDArray[Any]]
) -> onnx.NodeProto:
    """Returns a convolution that does what it did and its batch norm."""
    factor, shift = factors
    kernel = view.constant(node.inputs[1])
    assert kernel is not None  # noqa: S101 - of _convolution
    bias = view.constant(node.input(2)) if node.input(2) else None
    names = [f"{node.inputs[1]}__folded_{node.index}", f"{node.outputs[0]}__bias"]
    weights[names[0]] = (kernel * factor.reshape(-1, *[1] * (kernel.ndim - 1))).astype(kernel.dtype)
    weights[names[1]] = ((0.0 if bias is None else bias) * factor + shift).astype(kernel.dtype)
    folded = copied(node.proto)
    folded.input[:] = [node.inputs[0], *names]
    folded.output[:] = norm.outputs[:1]
    return folded


def _written(
    view: GraphView, node: NodeView, factors: tuple[Doubles, Doubles], weights: dict[str, NDArray[Any]]
) -> list[onnx.NodeProto]:
    """Returns a product and a sum that do what a batch norm does."""
    import onnx

    shape = (-1, *[1] * (len(view.shape(node.inputs[0]) or ()) - 2))
    output = node.outputs[0]
    names = [f"{output}__factor", f"{output}__shift"]
    for name, value in zip(names, factors, strict=True):
        weights[name] = value.reshape(shape).astype(np.float32)
    scaled = f"{output}__scaled"
    return [
        onnx.helper.make_node("Mul", [node.inputs[0], names[0]], [scaled], f"{node.name}__mul"),
        onnx.helper.make_node("Add", [scaled, names[1]], [output], f"{node.name}__add"),
    ]
