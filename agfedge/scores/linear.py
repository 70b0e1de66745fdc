"""The linear layers of a graph as matrices from input channels to output channels, with the channels' units."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from agfedge.scores.places import Where
    from agfedge_export import ChannelGroups
    from agfedge_export.graph.view import GraphView, NodeView


@dataclass(frozen=True, eq=False)
class Layer:
    """A node that multiplies channels by a constant weight: Conv, ConvTranspose, Gemm or MatMul.

    Attributes:
        node: the node.
        data: name of the feature map that it reads.
        axis: the axis of its channels there.
        parts: number of groups of a grouped convolution; one for all others.
        inputs: int64 (input channels,), each one's unit counted through all channel groups; -1 where it is kept whole.
        outputs: int64 (output channels,), likewise.
    """

    node: NodeView
    data: str
    axis: int
    parts: int
    inputs: NDArray[np.int64]
    outputs: NDArray[np.int64]
    _view: GraphView = field(repr=False)

    @property
    def where(self) -> Where:
        """The feature map that the layer reads, and the axis and number of its channels."""
        return self.data, (self.axis,), (len(self.inputs),)

    def weights(self) -> NDArray[np.float64]:
        """Returns the weights, (parts, outputs of a part, inputs of a part, kernel positions); made anew each time."""
        position, transposed = _weight_of(self._view, self.node)
        value = _value(self._view, self.node.inputs[position])
        if self.node.op == "ConvTranspose":
            shape = (self.parts, len(self.inputs) // self.parts, len(self.outputs) // self.parts, -1)
            return value.reshape(shape).swapaxes(1, 2).astype(np.float64)
        matrix = value.T if transposed else value
        shape = (self.parts, len(self.outputs) // self.parts, len(self.inputs) // self.parts, -1)
        return matrix.reshape(shape).astype(np.float64)


def linear_layers(groups: ChannelGroups) -> tuple[Layer, ...]:
    """Finds the layers that produce or read channels of a group, in the order of the graph."""
    view = groups.analysis.tracer.view
    found = []
    for node in view.nodes:
        layer = _layer(groups, view, node)
        if layer is not None and (layer.inputs.max(initial=-1) >= 0 or layer.outputs.max(initial=-1) >= 0):
            found.append(layer)
    return tuple(found)


def _layer(groups: ChannelGroups, view: GraphView, node: NodeView) -> Layer | None:
    if node.op not in ("Conv", "ConvTranspose", "Gemm", "MatMul") or node.domain:
        return None
    position, _ = _weight_of(view, node)
    data, weight = node.inputs[1 - position], node.inputs[position]
    shapes = [view.shape(name) for name in (data, node.outputs[0])]
    if not view.is_derived(weight) or None in shapes:
        return None
    rank = len(shapes[0] or ())
    axis = 1 if node.op != "MatMul" else rank - 1 if position == 1 else rank - 2
    units = [
        _units(groups, name, axis, (shape or ())[axis])
        for name, shape in zip((data, node.outputs[0]), shapes, strict=True)
    ]
    return Layer(node, data, axis, int(node.attributes.get("group", 1)), units[0], units[1], view)


def _weight_of(view: GraphView, node: NodeView) -> tuple[int, bool]:
    """Returns which input is the weight, and whether it is a matrix of (inputs, outputs)."""
    if node.op == "MatMul":
        right = view.is_derived(node.inputs[1]) and len(view.shape(node.inputs[1]) or ()) == 2
        return (1, True) if right else (0, False)
    return 1, node.op == "Gemm" and not node.attributes.get("transB", 0)


def _units(groups: ChannelGroups, tensor: str, axis: int, size: int) -> NDArray[np.int64]:
    """Returns the units along one axis of a feature map."""
    analysis = groups.analysis
    for each in analysis.tracer.fields(tensor):
        if each.axes == (axis,):
            atoms = each.atoms.ravel()
            units = analysis.unit_of[atoms]
            parts = [analysis.first_parts.get(int(atom), -1) for atom in atoms] if analysis.composites else units
            return np.where(units < 0, parts, units)
    return np.full(size, -1, dtype=np.int64)


def _value(view: GraphView, name: str) -> NDArray[np.float32]:
    """Returns a constant, or what the graph computes from constants alone (a transposed or reshaped weight)."""
    value = view.constant(name)
    if value is not None:
        return value
    from onnx.reference import ReferenceEvaluator

    node = view.producer[view.root(name)]
    feeds = {each: _value(view, each) for each in node.inputs if each}
    made = ReferenceEvaluator(node.proto, opsets={"": view.opset}).run([view.root(name)], feeds)
    return np.asarray(next(iter(made)), dtype=np.float32)
