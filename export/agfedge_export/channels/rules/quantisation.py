"""Explicit quantisation: Q/DQ pairs around weights and feature maps keep zero where it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agfedge_export.channels.rules.registry import rule
from agfedge_export.channels.tracer import CARRIES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from agfedge_export.channels.labels import Field
    from agfedge_export.channels.tracer import Tracer
    from agfedge_export.graph.view import NodeView


@rule("QuantizeLinear", "DequantizeLinear")
def quantise(tracer: Tracer, node: NodeView) -> None:
    """Y = round(x / scale) + zero_point and back; scale and zero point are one number, or one an index of `axis`."""
    data = node.inputs[0]
    zero = tracer.view.constant(node.input(2)) if node.input(2) else np.zeros(())
    if zero is None or node.attributes.get("block_size", 0):
        tracer.block(node, data, f"{node.op} with a computed zero point, or by blocks")
        return
    axis = int(node.attributes.get("axis", 1)) % max(tracer.rank(data), 1)
    parameter = tracer.view.is_derived(data)
    for labels in tracer.labels(node, 0):
        if parameter and zero.any():
            tracer.pin(labels.atoms, data, labels.axes[0], node, "a zeroed weight is not zero: its zero point is not")
        _touch_scales(tracer, node, labels, axis)
        tracer.lay(node.outputs[0], labels.with_dead(_dead(node.op, labels, zero)))


def _touch_scales(tracer: Tracer, node: NodeView, labels: Field, axis: int) -> None:
    for position in (1, 2):
        shape = tracer.view.shape(node.input(position)) if node.input(position) else None
        if shape and shape[0] > 1 and labels.spans(axis):
            tracer.touch(node, position, 0, tracer.coarse(labels, axis), CARRIES)


def _dead(op: str, labels: Field, zero: NDArray[np.generic]) -> NDArray[np.float64]:
    """Zero becomes the zero point, and the zero point becomes zero again; anything else is not followed."""
    points = np.unique(zero.astype(np.float64))
    point = float(points[0]) if points.size == 1 else np.nan
    before, after = (0.0, point) if op == "QuantizeLinear" else (point, 0.0)
    return np.where(labels.dead == before, after, np.nan)
