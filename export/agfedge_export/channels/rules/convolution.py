"""Convolutions: plain, depthwise, grouped and transposed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agfedge_export.channels.labels import Field
from agfedge_export.channels.rules import rule
from agfedge_export.channels.tracer import CONSUMES, PRODUCES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from agfedge_export.channels.tracer import Tracer
    from agfedge_export.graph.view import NodeView

CHANNELS = 1  # the channel axis of every feature map that ONNX convolves: (N, C, ...)


@rule("Conv", "ConvTranspose")
def convolution(tracer: Tracer, node: NodeView) -> None:
    """A linear map of input channels to output channels, within groups."""
    tracer.block_beside(node, node.inputs[0], CHANNELS)
    groups = int(node.attributes.get("group", 1))
    if groups > 1:
        _grouped(tracer, node, groups)
        return
    produced_axis, consumed_axis = (1, 0) if node.op == "ConvTranspose" else (0, 1)
    tracer.consume(node, node.inputs[0], CHANNELS, weight=1, weight_axis=consumed_axis)
    _touch_outputs(tracer, node, produced_axis, tracer.produce(node, CHANNELS, weight=1))


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
    if node.op == "ConvTranspose":
        tracer.block(node, data, "a grouped ConvTranspose", axes=(CHANNELS,))
        atoms = tracer.produce(node, CHANNELS, weight=1)
        tracer.pin(atoms, output, CHANNELS, node, "a grouped ConvTranspose")
    elif labels is None and groups == inputs:
        atoms = tracer.produce(node, CHANNELS, weight=1)
        tracer.pin(atoms, data, CHANNELS, node, f"{data} has no channels that can be removed")
        _touch_outputs(tracer, node, 0, atoms)
    elif labels is not None and groups >= inputs // groups:
        _whole_groups(tracer, node, labels, groups)
    else:
        _same_positions(tracer, node, labels, groups)


def _whole_groups(tracer: Tracer, node: NodeView, labels: Field, groups: int) -> None:
    """Zeroing a group's weights zeroes its outputs, whatever its inputs hold."""
    outputs = tracer.view.shapes[node.outputs[0]][CHANNELS]
    atoms = np.repeat(tracer.unite_all(labels.atoms.reshape(groups, -1).T), outputs // groups)
    tracer.lay(node.outputs[0], Field.along(CHANNELS, tracer.rank(node.outputs[0]), atoms))
    tracer.read(node.inputs[0], labels)
    _touch_outputs(tracer, node, 0, atoms)


def _same_positions(tracer: Tracer, node: NodeView, labels: Field | None, groups: int) -> None:
    """Ties the inputs at the same position of every group; the groups' outputs are rows of equal length."""
    data = node.inputs[0]
    width = tracer.view.shapes[data][CHANNELS] // groups
    if labels is None:
        tracer.block(node, data, "a grouped convolution sums over split channels", axes=(CHANNELS,))
        first = tracer.new_atoms(node, f"fixed {data}", width, data)
        tracer.pin(first, data, CHANNELS, node, f"{data} has no channels that can be removed")
    else:
        tracer.require_zero(node, data, labels)
        first = tracer.unite_all(labels.atoms.reshape(groups, width))
        tracer.read(data, labels)
    tracer.touch(node, 1, 1, first, CONSUMES)
    atoms = tracer.produce(node, CHANNELS, weight=1)
    per_group = atoms.reshape(groups, -1)
    tracer.joint(Field(per_group, np.zeros(per_group.shape), 1), rows_fixed=True)
    _touch_outputs(tracer, node, 0, atoms)
