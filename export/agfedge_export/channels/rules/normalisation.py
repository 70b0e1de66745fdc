"""Normalisations. Batch norm treats each channel alone when it infers; norms across channels are never crossed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agfedge_export.channels.labels import Field
from agfedge_export.channels.rules.registry import rule
from agfedge_export.channels.tracer import CARRIES, PRODUCES

if TYPE_CHECKING:
    from agfedge_export.channels.tracer import Tracer
    from agfedge_export.graph.view import NodeView

CHANNELS = 1


@rule("BatchNormalization", "InstanceNormalization")
def per_channel(tracer: Tracer, node: NodeView) -> None:
    """Scale * normalised + bias: zero scale and bias zero the channel whatever it held."""
    data, output = node.inputs[0], node.outputs[0]
    if node.attributes.get("training_mode", 0):
        tracer.block(node, data, "batch norm in training mode")
        return
    tracer.block(node, data, f"{node.op} runs over this axis", axes=_not_channels(tracer, data))
    labels = tracer.field(data, CHANNELS)
    if labels is None:
        return
    atoms = labels.atoms.ravel()
    for position in (1, 2):
        tracer.touch(node, position, 0, atoms, PRODUCES)
    for position in range(3, len(node.inputs)):
        tracer.touch(node, position, 0, atoms, CARRIES)
    tracer.lay(output, Field(labels.atoms, np.zeros(labels.atoms.shape)))


def _not_channels(tracer: Tracer, data: str) -> tuple[int, ...]:
    return tuple(axis for axis in range(tracer.rank(data)) if axis != CHANNELS)


@rule("LayerNormalization", "RMSNormalization")
def layer_norm(tracer: Tracer, node: NodeView) -> None:
    """A norm over the last axes. Removing a channel changes the others: crossed only where inexact is asked for."""
    data, output = node.inputs[0], node.outputs[0]
    rank = tracer.rank(data)
    start = int(node.attributes.get("axis", -1)) % rank
    normalised = tuple(range(start, rank))
    if not tracer.inexact:
        tracer.block(node, data, f"{node.op} normalises across channels", axes=normalised)
    for each in tracer.fields(data):
        inside = [axis for axis in each.axes if axis in normalised]
        if not inside:
            tracer.lay(output, each.with_dead(np.full(each.atoms.shape, np.nan)))
        elif tracer.inexact and len(each.axes) == 1:
            for position in range(1, len(node.inputs)):
                tracer.touch(node, position, inside[0] - start, each.atoms.ravel(), PRODUCES)
            tracer.lay(output, each.with_dead(np.zeros(each.atoms.shape)))


@rule("GroupNormalization")
def group_norm(tracer: Tracer, node: NodeView) -> None:
    """A norm within groups of channels: whole groups may go. Scale and bias: one a channel, or (opset 18) a group."""
    data, output = node.inputs[0], node.outputs[0]
    tracer.block(node, data, f"{node.op} runs over this axis", axes=_not_channels(tracer, data))
    labels = tracer.field(data, CHANNELS)
    if labels is None:
        return
    rows = labels.atoms.ravel().reshape(int(node.attributes["num_groups"]), -1)
    for column in rows.T[1:]:
        tracer.unite(rows[:, 0], column)
    for position in (1, 2):
        shape = tracer.view.shape(node.inputs[position])
        along = labels.atoms.ravel() if shape == (labels.atoms.size,) else rows[:, 0]
        tracer.touch(node, position, 0, along, PRODUCES)
    tracer.lay(output, labels.with_dead(np.zeros(labels.atoms.shape)))


@rule("LRN", "LpNormalization", "MeanVarianceNormalization")
def across(tracer: Tracer, node: NodeView) -> None:
    """A norm over several channels at once: removing one changes the others."""
    tracer.block(node, node.inputs[0], f"{node.op} normalises across channels")


@rule("Softmax", "LogSoftmax", "Hardmax")
def softmax(tracer: Tracer, node: NodeView) -> None:
    """Normalises along one axis (from opset 13; before, over all axes from it on); other axes pass."""
    data = node.inputs[0]
    rank = tracer.rank(data)
    default = -1 if tracer.view.opset >= 13 else 1
    axis = int(node.attributes.get("axis", default)) % rank
    normalised = (axis,) if tracer.view.opset >= 13 else tuple(range(axis, rank))
    tracer.block(node, data, f"{node.op} runs across these channels", axes=normalised)
    for each in tracer.fields(data):
        if not any(each.spans(one) for one in normalised):
            tracer.lay(node.outputs[0], each.with_dead(np.full(each.atoms.shape, np.nan)))
