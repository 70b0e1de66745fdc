"""Whole branches: where no inner channel stays, the nodes go, and only the constant that they contributed stays.

On small batches a device is bound by the number of kernels it launches, not by multiply-accumulates: a branch that is
gone saves what a thin one does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from agfedge_export.errors import SurgeryError
from agfedge_export.tracer import CONSUMES

if TYPE_CHECKING:
    import onnx_graphsurgeon as gs
    from numpy.typing import NDArray

    from agfedge_export.groups import Member
    from agfedge_export.tracer import Tracer
    from agfedge_export.view import NodeView

_LINEAR = frozenset(("Conv", "ConvTranspose", "Gemm", "MatMul"))
# A constant for each channel stays one through these.
_POINTWISE = frozenset(
    ("Abs", "BatchNormalization", "Cast", "Clip", "Dropout", "Elu", "Erf", "Exp", "Gelu", "HardSigmoid", "HardSwish",
     "Identity", "LeakyRelu", "Mish", "Neg", "PRelu", "Relu", "Selu", "Sigmoid", "Softplus", "Sqrt", "Swish", "Tanh")
)  # fmt: skip
_BINARY = frozenset(("Add", "Div", "Max", "Min", "Mul", "Sub", "Sum"))


def may_vanish(tracer: Tracer, members: list[Member]) -> bool:
    """Whether a group may lose every unit: all that it feeds is then a constant that is added to a live tensor."""
    consumers = {member.node: member for member in members if member.role == CONSUMES}
    if not consumers:
        return False
    for index, member in consumers.items():
        node = tracer.view.nodes[index]
        if node.op not in _LINEAR or (member.units < 0).any() or not _ends_well(tracer, node.outputs[0], set()):
            return False
    return True


def _ends_well(tracer: Tracer, tensor: str, seen: set[str]) -> bool:
    """Whether every reader of a per-channel constant can take it as such."""
    if tensor in seen:
        return True
    seen.add(tensor)
    view = tracer.view
    if tensor in view.graph_outputs:
        return False
    return all(_reads_well(tracer, reader, tensor, seen) for reader, _ in view.consumers.get(tensor, []))


def _reads_well(tracer: Tracer, reader: NodeView, tensor: str, seen: set[str]) -> bool:
    view = tracer.view
    others = [name for name in reader.inputs if name and name != tensor and not view.is_constant(name)]
    if reader.domain or len(reader.outputs) != 1:
        return False
    if reader.op in _BINARY and others:
        # The live operand must have the full shape, so that broadcasting gives it back.
        return any(view.shape(name) == view.shape(reader.outputs[0]) for name in others)
    if others or not (reader.op in _POINTWISE or reader.op in _BINARY or _is_pointwise_convolution(reader, tracer)):
        return False
    return _ends_well(tracer, reader.outputs[0], seen)


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
