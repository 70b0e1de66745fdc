"""The Attention operator (opset 23): heads, and the dimensions of queries and keys and of values."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agfedge_export.channels.labels import Field
from agfedge_export.channels.rules.registry import rule
from agfedge_export.channels.tracer import Read

if TYPE_CHECKING:
    from agfedge_export.channels.tracer import Tracer
    from agfedge_export.graph.view import NodeView

HEADS, DIMENSIONS = 1, 3


@rule("Attention")
def attention(tracer: Tracer, node: NodeView) -> None:
    """softmax(scale * Q K^T + mask) V for Q, K, V of (B, heads, T, dimensions), with as many heads each."""
    shapes = [tracer.view.shape(name) for name in node.inputs[:3]]
    mask = tracer.view.shape(node.input(3)) if node.input(3) else ()
    plain = len({shape[HEADS] for shape in shapes if shape is not None and len(shape) == 4}) == 1
    if not plain or any(shape is None or len(shape) != 4 for shape in shapes) or any(node.inputs[4:]) or mask is None:
        for name in node.inputs:
            tracer.block(node, name, "Attention with folded or grouped heads, or with a cache")
        return
    for name in node.inputs[:3]:
        tracer.block(node, name, "Attention runs over this axis", axes=(0, 2))
    queries, keys, values = (_spread(tracer, name) for name in node.inputs[:3])
    _tie_products(tracer, node, queries, keys)
    rows = [tracer.coarse(each, HEADS) for each in (queries, keys, values) if each is not None and each.spans(HEADS)]
    fixed = len(rows) < 3 or (len(mask) == 4 and mask[HEADS] > 1)
    for row in rows:
        tracer.unite(rows[0], row)
        if fixed:
            tracer.pin(row, node.inputs[0], HEADS, node, "Attention's heads meet a tensor of fixed size")
    if values is not None:
        tracer.lay(node.outputs[0], values.with_zero_kept())


def _spread(tracer: Tracer, tensor: str) -> Field | None:
    return next((each for each in tracer.fields(tensor) if each.spans(DIMENSIONS)), None)


def _tie_products(tracer: Tracer, node: NodeView, queries: Field | None, keys: Field | None) -> None:
    """Query and key dimensions go together, and both must be zero where they are gone."""
    if queries is None or keys is None or queries.atoms.shape != keys.atoms.shape:
        for each, name in ((queries, node.inputs[0]), (keys, node.inputs[1])):
            if each is not None:
                tracer.pin(each.atoms, name, DIMENSIONS, node, "queries meet keys of fixed size")
        return
    for each, name in ((queries, node.inputs[0]), (keys, node.inputs[1])):
        tracer.require_zero(node, name, each)
    tracer.unite(queries.atoms, keys.atoms)
    sizes = [queries.atoms.shape[axis] for axis in queries.axes]
    tracer.reads.append(Read(node.inputs[0], queries.axes, queries.atoms.reshape(sizes)))
