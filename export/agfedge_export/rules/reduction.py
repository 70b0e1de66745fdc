"""Pooling, reductions and resizing over the axes that are not channels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agfedge_export.labels import Field
from agfedge_export.rules.registry import rule

if TYPE_CHECKING:
    from agfedge_export.tracer import Tracer
    from agfedge_export.view import NodeView

CHANNELS = 1
# What these give for a constant channel is the constant itself.
_KEEP_CONSTANTS = frozenset(("ReduceMean", "ReduceMax", "ReduceMin", "GlobalAveragePool", "GlobalMaxPool", "MaxPool"))


@rule("AveragePool", "MaxPool", "LpPool", "GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool")
def pool(tracer: Tracer, node: NodeView) -> None:
    """A window over the spatial axes of (N, C, ...)."""
    data, output = node.inputs[0], node.outputs[0]
    if tracer.view.shape(data) is None:
        tracer.block(node, data, f"the shape of {node.op}'s input is unknown")
        return
    spatial = tuple(axis for axis in range(tracer.rank(data)) if axis != CHANNELS)
    tracer.block(node, data, f"{node.op} runs over this axis", axes=spatial)
    for each in tracer.fields.get(data, ()):
        if each.axes == (CHANNELS,):
            tracer.lay(output, Field(each.atoms, _kept_if(node.op in _KEEP_CONSTANTS, each)))


@rule("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2", "ReduceSumSquare")
def reduce(tracer: Tracer, node: NodeView) -> None:
    """A reduction: channels on other axes pass; channels on a reduced axis stay whole."""
    data, output = node.inputs[0], node.outputs[0]
    if tracer.view.shape(data) is None:
        tracer.block(node, data, f"the shape of {node.op}'s input is unknown")
        return
    axes = reduced_axes(tracer, node)
    if axes is None:
        tracer.block(node, data, f"the axes of {node.op} are computed")
        return
    tracer.block(node, data, f"{node.op} runs across these channels", axes=axes)
    keepdims = bool(node.attributes.get("keepdims", 1))
    for each in tracer.fields.get(data, ()):
        if any(each.spans(axis) for axis in axes):
            continue
        labels = Field(each.atoms, _kept_if(node.op in _KEEP_CONSTANTS, each))
        if not keepdims:
            labels = Field(np.squeeze(labels.atoms, axis=axes), np.squeeze(labels.dead, axis=axes))
        tracer.lay(output, labels)


def reduced_axes(tracer: Tracer, node: NodeView) -> tuple[int, ...] | None:
    """Returns the reduced axes, from the attribute or (later opsets) the second input; None when computed."""
    rank = tracer.rank(node.inputs[0])
    axes = node.attributes.get("axes")
    if axes is None and node.input(1):
        axes = tracer.view.constant(node.input(1))
        if axes is None:
            return None
    if axes is None or len(axes) == 0:
        return () if node.attributes.get("noop_with_empty_axes", 0) else tuple(range(rank))
    return tuple(int(axis) % rank for axis in axes)


def _kept_if(kept: bool, labels: Field) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Returns the dead values where they survive; otherwise zero stays zero and the rest is unknown."""
    return labels.dead if kept else np.where(labels.dead == 0, 0.0, np.nan)
