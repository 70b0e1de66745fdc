"""Operators that run along axes: pooling, reductions, resizing, and norms, which across channels are never crossed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agfedge_export.channels.rules import rule
from agfedge_export.channels.rules.movement import moved
from agfedge_export.channels.tracer import CARRIES, PRODUCES

if TYPE_CHECKING:
    from agfedge_export.channels.tracer import Tracer
    from agfedge_export.graph.view import NodeView

CHANNELS = 1
# What these give for a constant channel is the constant itself.
_KEEP_CONSTANTS = frozenset(("ReduceMean", "ReduceMax", "ReduceMin", "GlobalAveragePool", "GlobalMaxPool", "MaxPool"))


@rule("AveragePool", "MaxPool", "LpPool", "GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool")
def pool(tracer: Tracer, node: NodeView) -> None:
    """A window over the spatial axes of (N, C, ...)."""
    tracer.block_beside(node, node.inputs[0], CHANNELS)
    _pass_channels(tracer, node)


def _pass_channels(tracer: Tracer, node: NodeView) -> None:
    for each in tracer.fields(node.inputs[0]):
        if each.axes == (CHANNELS,):
            tracer.lay(node.outputs[0], each if node.op in _KEEP_CONSTANTS else each.with_zero_kept())


@rule("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2", "ReduceSumSquare")
def reduce(tracer: Tracer, node: NodeView) -> None:
    """A reduction: channels on other axes pass; channels on a reduced axis stay whole."""
    data, output = node.inputs[0], node.outputs[0]
    axes = reduced_axes(tracer, node)
    if axes is None:
        tracer.block(node, data, f"the axes of {node.op} are computed")
        return
    if not (tracer.inexact and node.op == "ReduceMean"):
        tracer.block(node, data, f"{node.op} runs across these channels", axes=axes)
    keepdims = bool(node.attributes.get("keepdims", 1))
    for each in tracer.fields(data):
        if any(each.spans(axis) for axis in axes):
            continue
        labels = each if node.op in _KEEP_CONSTANTS else each.with_zero_kept()
        tracer.lay(output, labels if keepdims else moved(labels, lambda array: np.squeeze(array, axis=axes)))


def reduced_axes(tracer: Tracer, node: NodeView) -> tuple[int, ...] | None:
    """Returns the reduced axes, from the attribute or (later opsets) the second input; None when computed."""
    rank = tracer.rank(node.inputs[0])
    axes = node.attributes.get("axes")
    if axes is None and node.input(1):
        axes = tracer.view.number(node.input(1))
        if axes is None:
            return None
    if axes is None or len(axes) == 0:
        return () if node.attributes.get("noop_with_empty_axes", 0) else tuple(range(rank))
    return tuple(int(axis) % rank for axis in axes)


@rule("Resize", "Upsample")
def resize(tracer: Tracer, node: NodeView) -> None:
    """Interpolation over the spatial axes; channels that it does not stretch pass."""
    data = node.inputs[0]
    before, after = tracer.view.shapes[data], tracer.view.shapes[node.outputs[0]]
    stretched = tuple(axis for axis in range(len(before)) if axis != CHANNELS or before[axis] != after[axis])
    tracer.block(node, data, f"{node.op} stretches this axis", axes=stretched)
    _pass_channels(tracer, node)


@rule("GridSample", "RoiAlign", "MaxRoiPool")
def sample(tracer: Tracer, node: NodeView) -> None:
    """Interpolation or pooling at given places: linear or a maximum in each channel alone."""
    for name in node.inputs[1:]:
        tracer.block(node, name, f"{node.op} reads places from it")
    pool(tracer, node)


@rule("BatchNormalization", "InstanceNormalization")
def per_channel(tracer: Tracer, node: NodeView) -> None:
    """Scale * normalised + bias: zero scale and bias zero the channel whatever it held."""
    data, output = node.inputs[0], node.outputs[0]
    if node.attributes.get("training_mode", 0):
        tracer.block(node, data, "batch norm in training mode")
        return
    tracer.block_beside(node, data, CHANNELS)
    labels = tracer.field(data, CHANNELS)
    if labels is None:
        return
    atoms = labels.atoms.ravel()
    for position in (1, 2):
        tracer.touch(node, position, 0, atoms, PRODUCES)
    for position in range(3, len(node.inputs)):
        tracer.touch(node, position, 0, atoms, CARRIES)
    tracer.lay(output, labels.with_dead(0.0))


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
            tracer.lay(output, each.with_dead(np.nan))
        elif tracer.inexact and len(each.axes) == 1:
            for position in range(1, len(node.inputs)):
                tracer.touch(node, position, inside[0] - start, each.atoms.ravel(), PRODUCES)
            tracer.lay(output, each.with_dead(0.0))


@rule("GroupNormalization")
def group_norm(tracer: Tracer, node: NodeView) -> None:
    """A norm within groups of channels: whole groups may go. Scale and bias: one a channel, or (opset 18) a group."""
    data, output = node.inputs[0], node.outputs[0]
    tracer.block_beside(node, data, CHANNELS)
    labels = tracer.field(data, CHANNELS)
    if labels is None:
        return
    groups = tracer.unite_all(labels.atoms.reshape(int(node.attributes["num_groups"]), -1).T)
    for position in (1, 2):
        shape = tracer.view.shape(node.inputs[position])
        along = labels.atoms.ravel() if shape == (labels.atoms.size,) else groups
        tracer.touch(node, position, 0, along, PRODUCES)
    tracer.lay(output, labels.with_dead(0.0))


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
            tracer.lay(node.outputs[0], each.with_dead(np.nan))
