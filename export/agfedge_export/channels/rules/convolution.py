"""Convolutions: plain, depthwise, grouped and transposed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agfedge_export.channels.labels import Field
from agfedge_export.channels.rules import rule
from agfedge_export.channels.tracer import CONSUMES, PRODUCES, Read

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from agfedge_export.channels.tracer import Tracer
    from agfedge_export.graph.view import NodeView

CHANNELS = 1  # the channel axis of every feature map that ONNX convolves: (N, C, ...)


@rule("Conv", "ConvTranspose")
def convolution(tracer: Tracer, node: NodeView) -> None:
    """A linear map of input channels to output channels, within groups."""
    data, output = node.inputs[0], node.outputs[0]
    weight_shape = tracer.view.shape(node.inputs[1]) or tracer.view.constant_shape(node.inputs[1])
    if tracer.view.shape(output) is None or weight_shape is None:
        tracer.block(node, data, f"shapes around {node.op} are unknown")
        return
    tracer.block(node, data, f"{node.op} runs over this axis", axes=_other_axes(tracer, data))
    groups = int(node.attributes.get("group", 1))
    if groups == 1:
        _dense(tracer, node, weight_shape)
    else:
        _grouped(tracer, node, groups)


def _other_axes(tracer: Tracer, data: str) -> tuple[int, ...]:
    return tuple(axis for axis in range(tracer.rank(data)) if axis != CHANNELS)


def _weight_axes(node: NodeView) -> tuple[int, int]:
    """Returns the weight's axes of (output channels, input channels)."""
    return (1, 0) if node.op == "ConvTranspose" else (0, 1)


def _dense(tracer: Tracer, node: NodeView, weight_shape: tuple[int, ...]) -> None:
    produced_axis, consumed_axis = _weight_axes(node)
    tracer.consume(node, node.inputs[0], CHANNELS, weight=1, weight_axis=consumed_axis)
    name = tracer.view.root(node.inputs[1])
    atoms = tracer.produce(node, node.outputs[0], CHANNELS, weight_shape[produced_axis], name)
    _touch_outputs(tracer, node, produced_axis, atoms)


def _touch_outputs(tracer: Tracer, node: NodeView, axis: int, atoms: NDArray[np.int64]) -> None:
    tracer.touch(node, 1, axis, atoms, PRODUCES)
    if node.input(2):
        tracer.touch(node, 2, 0, atoms, PRODUCES)


def _grouped(tracer: Tracer, node: NodeView, groups: int) -> None:
    """Grouped convolution: what is left must give every group as many inputs and outputs as the others.

    Either whole groups go, inputs and outputs together (a depthwise convolution is the case of one channel a group), or
    every group loses the inputs at the same positions, and as many outputs: whichever leaves more to choose from.
    """
    data, output = node.inputs[0], node.outputs[0]
    inputs = tracer.view.shapes[data][CHANNELS]
    labels = tracer.field(data, CHANNELS)
    outputs = tracer.view.shapes[output][CHANNELS]
    if node.op == "ConvTranspose":
        tracer.block(node, data, "a grouped ConvTranspose", axes=(CHANNELS,))
        atoms = tracer.produce(node, output, CHANNELS, outputs, tracer.view.root(node.inputs[1]))
        tracer.pin(atoms, output, CHANNELS, node, "a grouped ConvTranspose")
    elif labels is None and groups == inputs:
        atoms = tracer.produce(node, output, CHANNELS, outputs, tracer.view.root(node.inputs[1]))
        tracer.pin(atoms, data, CHANNELS, node, f"{data} has no channels that can be removed")
        _touch_outputs(tracer, node, 0, atoms)
    elif labels is not None and groups >= inputs // groups:
        _whole_groups(tracer, node, labels, groups)
    else:
        _same_positions(tracer, node, labels, groups)


def _whole_groups(tracer: Tracer, node: NodeView, labels: Field, groups: int) -> None:
    """Zeroing a group's weights zeroes its outputs, whatever its inputs hold."""
    outputs = tracer.view.shapes[node.outputs[0]][CHANNELS]
    members = labels.atoms.ravel().reshape(groups, -1)
    for column in members.T[1:]:
        tracer.unite(members[:, 0], column)
    atoms = np.repeat(members[:, 0], outputs // groups)
    tracer.lay(node.outputs[0], Field.along(CHANNELS, tracer.rank(node.outputs[0]), atoms))
    tracer.reads.append(Read(node.inputs[0], (CHANNELS,), labels.atoms.ravel()))
    _touch_outputs(tracer, node, 0, atoms)


def _same_positions(tracer: Tracer, node: NodeView, labels: Field | None, groups: int) -> None:
    """Ties the inputs at the same position of every group; the groups' outputs are rows of equal length."""
    data, output = node.inputs[0], node.outputs[0]
    width = tracer.view.shapes[data][CHANNELS] // groups
    if labels is None:
        tracer.block(node, data, "a grouped convolution sums over split channels", axes=(CHANNELS,))
        first = tracer.new_atoms(node, f"fixed {data}", width, data)
        tracer.pin(first, data, CHANNELS, node, f"{data} has no channels that can be removed")
    else:
        tracer.require_zero(node, data, labels)
        rows = labels.atoms.ravel().reshape(groups, width)
        for row in rows[1:]:
            tracer.unite(rows[0], row)
        first = rows[0]
        tracer.reads.append(Read(data, (CHANNELS,), labels.atoms.ravel()))
    tracer.touch(node, 1, 1, first, CONSUMES)
    outputs = tracer.view.shapes[output][CHANNELS]
    atoms = tracer.produce(node, output, CHANNELS, outputs, tracer.view.root(node.inputs[1]))
    per_group = atoms.reshape(groups, -1)
    tracer.joint(Field(per_group, np.zeros(per_group.shape), 1), rows_fixed=True)
    _touch_outputs(tracer, node, 0, atoms)
