"""Normalisations. Batch norm treats each channel alone when it infers; norms across channels are never crossed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agfedge_export.labels import Field
from agfedge_export.rules.registry import rule
from agfedge_export.tracer import CARRIES, PRODUCES

if TYPE_CHECKING:
    from agfedge_export.tracer import Tracer
    from agfedge_export.view import NodeView

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


@rule(
    "LayerNormalization",
    "GroupNormalization",
    "LRN",
    "LpNormalization",
    "RMSNormalization",
    "MeanVarianceNormalization",
)
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
