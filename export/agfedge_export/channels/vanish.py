"""Whole branches: where no inner channel stays, the nodes go, and only the constant that they contributed stays.

On small batches a device is bound by the number of kernels it launches, not by multiply-accumulates: a branch that is
gone saves what a thin one does not.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Any

import numpy as np

from agfedge_export.channels.tracer import CONSUMES
from agfedge_export.errors import SurgeryError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    import onnx_graphsurgeon as gs
    from numpy.typing import NDArray

    from agfedge_export.channels.groups import Member
    from agfedge_export.channels.tracer import Tracer
    from agfedge_export.graph.view import NodeView

_LINEAR = frozenset(("Conv", "ConvTranspose", "Gemm", "MatMul"))
# A constant for each channel stays one through these.
_POINTWISE = frozenset(
    ("Abs", "BatchNormalization", "Cast", "Clip", "Dropout", "Elu", "Erf", "Exp", "Gelu", "HardSigmoid", "HardSwish",
     "Identity", "LeakyRelu", "Mish", "Neg", "PRelu", "Relu", "Selu", "Sigmoid", "Softplus", "Sqrt", "Swish", "Tanh")
)  # fmt: skip
_BINARY = frozenset(("Add", "Div", "Max", "Min", "Mul", "Sub", "Sum"))


def may_vanish(tracer: Tracer, members: Sequence[Member], tensors: Collection[str]) -> bool:
    """Whether a group may lose every unit: what it feeds is then a constant, added to what lives.

    Args:
        tracer: the analysis.
        members: of the group.
        tensors: those of which nothing is left then.
    """
    consumers = {member.node: member for member in members if member.role == CONSUMES}
    for index, member in consumers.items():
        if tracer.view.nodes[index].op not in _LINEAR or member.input != 1 or (member.units < 0).any():
            return False
    for name in tensors:
        for reader, _ in tracer.view.consumers.get(name, []):
            outside = any(output not in tensors for output in reader.outputs)
            if outside and reader.index not in consumers and reader.op not in ("Shape", "Size"):
                return False
    return bool(consumers) and end_well(tracer, list(consumers))


def end_well(tracer: Tracer, empty: list[int]) -> bool:
    """Whether all that reads the per-channel constants of these linear nodes can take them as such."""
    view = tracer.view
    constants: set[str] = set()
    pending = sorted(set(empty))
    while pending:  # in the order of the graph: what is constant is known before it is read
        node = view.nodes[heapq.heappop(pending)]
        while pending and pending[0] == node.index:
            heapq.heappop(pending)
        if node.index not in empty and not _takes(tracer, node, constants):
            return False
        live = [name for name in node.inputs if name and name not in constants and not view.is_constant(name)]
        if node.index in empty or not live:
            constants.update(node.outputs)
            for name in node.outputs:
                if name in view.graph_outputs:
                    return False
                for reader, _ in view.consumers.get(name, []):
                    heapq.heappush(pending, reader.index)
    return True


def _takes(tracer: Tracer, node: NodeView, constants: set[str]) -> bool:
    """Whether a node gives the same for per-channel constants of size 1 on the other axes."""
    view = tracer.view
    live = [name for name in node.inputs if name and name not in constants and not view.is_constant(name)]
    if node.domain or len(node.outputs) != 1:
        return False
    if live:  # a live operand must have the full shape, so that broadcasting gives it back
        return node.op in _BINARY and any(view.shape(name) == view.shape(node.outputs[0]) for name in live)
    return node.op in _POINTWISE or node.op in _BINARY or _is_pointwise_convolution(node, tracer)


def _is_pointwise_convolution(node: NodeView, tracer: Tracer) -> bool:
    shape = tracer.view.constant_shape(node.input(1)) if node.op == "Conv" else None
    pads = node.attributes.get("pads", ())
    return shape is not None and all(size == 1 for size in shape[2:]) and not any(pads)


def vanish(nodes: list[gs.Node], tracer: Tracer, gone: NDArray[np.bool_]) -> None:
    """Replaces what reads an empty axis by the constant that it gives, and folds what follows from that.

    Args:
        nodes: the edited graph's nodes, as the original's.
        tracer: the analysis.
        gone: which atoms go.
    """
    empty = {
        touch.node
        for touch in tracer.touches
        if touch.role == CONSUMES and len(touch.atoms) and gone[touch.atoms].all()
    }
    made: dict[str, NDArray[Any]] = {}
    for view, node in zip(tracer.view.nodes, nodes, strict=True):
        if any(gone[labels.atoms].all() for name in view.outputs for labels in tracer.fields(name)):
            continue  # inside the branch
        if view.index in empty:
            made[view.outputs[0]] = _constant_output(tracer, view, node)
            continue
        _substitute(view, node, made)
        given = [position for position, name in enumerate(view.inputs) if name]
        values = {position: _value(tracer, view, node, position) for position in given}
        known = {position: value for position, value in values.items() if value is not None}
        if made.keys() & set(view.inputs) and len(known) == len(values):
            made[view.outputs[0]] = _evaluate(view, known, tracer.view.opset)


def _substitute(view: NodeView, node: gs.Node, made: dict[str, NDArray[Any]]) -> None:
    import onnx_graphsurgeon as gs

    for position, name in enumerate(view.inputs):
        if name in made:
            node.inputs[position] = gs.Constant(f"{view.name}__constant_{position}", made[name])


def _value(tracer: Tracer, view: NodeView, node: gs.Node, position: int) -> NDArray[Any] | None:
    """Returns a constant input as it is after the surgery, or None where the input is computed."""
    import onnx_graphsurgeon as gs

    tensor = node.inputs[position]
    return tensor.values if isinstance(tensor, gs.Constant) else tracer.view.constant(view.inputs[position])


def _constant_output(tracer: Tracer, view: NodeView, node: gs.Node) -> NDArray[Any]:
    """Returns what a linear node gives for no input at all, of size 1 on every axis but the channels'."""
    rank = tracer.rank(view.outputs[0])
    weight = _value(tracer, view, node, 1)
    if weight is None:
        raise SurgeryError(f"{view.name} has no constant weight: report this model")
    axis = rank - 1 if view.op in ("Gemm", "MatMul") else 1
    weight_axis = {"Conv": 0, "MatMul": weight.ndim - 1}.get(view.op, 1)
    if view.op == "Gemm" and view.attributes.get("transB", 0):
        weight_axis = 0
    bias = _value(tracer, view, node, 2) if view.input(2) else None
    channels = weight.shape[weight_axis] * (view.attributes.get("group", 1) if view.op == "ConvTranspose" else 1)
    values = np.zeros(channels, dtype=weight.dtype) if bias is None else np.broadcast_to(bias.ravel(), (channels,))
    if view.op == "Gemm":
        values = values * weight.dtype.type(view.attributes.get("beta", 1.0))
    return values.reshape([channels if each == axis else 1 for each in range(rank)])


def _evaluate(view: NodeView, values: dict[int, NDArray[Any]], opset: int) -> NDArray[Any]:
    """Runs one node on constants, by input position, through ONNX's reference implementation."""
    import onnx
    from onnx.reference import ReferenceEvaluator

    feeds = {f"x{index}": value for index, value in values.items()}
    proto = onnx.NodeProto()
    proto.CopyFrom(view.proto)
    del proto.input[:], proto.output[:]
    proto.input.extend(f"x{index}" if name else "" for index, name in enumerate(view.inputs))
    proto.output.append("y")
    types = [
        onnx.helper.make_tensor_value_info(name, onnx.helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
        for name, value in feeds.items()
    ]
    output = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)
    graph = onnx.helper.make_graph([proto], "constant", types, [output])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)])
    return np.asarray(next(iter(ReferenceEvaluator(model).run(None, feeds))))
