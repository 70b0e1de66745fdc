"""Matrix products: by a constant weight, of two computed matrices, and the Attention operator (opset 23)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agfedge_export.channels.labels import Field, spanning
from agfedge_export.channels.rules import rule
from agfedge_export.channels.tracer import PRODUCES

if TYPE_CHECKING:
    from agfedge_export.channels.tracer import Tracer
    from agfedge_export.graph.view import NodeView

# Axes of what Attention reads.
HEADS, DIMENSIONS = 1, 3


@rule("Gemm")
def gemm(tracer: Tracer, node: NodeView) -> None:
    """Y = A B + C with A (M, K), B (K, N) or transposed, C broadcastable to (M, N)."""
    data, weight = node.inputs[0], node.inputs[1]
    shape = tracer.view.shape(weight)
    if shape is None or not tracer.view.is_derived(weight) or node.attributes.get("transA", 0):
        tracer.block_inputs(node, "Gemm of two computed matrices, or of a transposed one")
        return
    tracer.block(node, data, "Gemm's row axis", axes=(0,))
    produced_axis, consumed_axis = (0, 1) if node.attributes.get("transB", 0) else (1, 0)
    tracer.consume(node, data, 1, weight=1, weight_axis=consumed_axis)
    atoms = tracer.produce(node, 1, weight=1)
    tracer.touch(node, 1, produced_axis, atoms, PRODUCES)
    if node.input(2):
        bias = tracer.view.shape(node.input(2))
        if bias and bias[-1] == len(atoms):
            tracer.touch(node, 2, len(bias) - 1, atoms, PRODUCES)
        else:
            tracer.pin(atoms, node.input(2), 1, node, "Gemm's bias is one number for all channels, or computed")


@rule("MatMul")
def matmul(tracer: Tracer, node: NodeView) -> None:
    """A product (..., M, K) by (..., K, N), whose operands may be constant or computed."""
    left, right = (tracer.view.shape(name) for name in node.inputs)
    if left is None or right is None or min(len(left), len(right)) < 2:
        tracer.block_inputs(node, "MatMul of unknown shapes or of a vector")
    elif len(right) == 2 and tracer.view.is_derived(node.inputs[1]):
        _by_weight(tracer, node, 1, len(left) - 1)
    elif len(left) == 2 and tracer.view.is_derived(node.inputs[0]):
        _by_weight(tracer, node, 0, len(right) - 2)
    else:
        _batched(tracer, node, tracer.rank(node.outputs[0]))


def _by_weight(tracer: Tracer, node: NodeView, weight: int, axis: int) -> None:
    """A product of a feature map, along `axis`, and the constant input at position `weight`."""
    data = node.inputs[1 - weight]
    tracer.consume(node, data, axis, weight=weight, weight_axis=1 - weight)
    for each in tracer.fields(data):
        if not each.spans(axis):
            tracer.lay(node.outputs[0], each.with_zero_kept())
    tracer.touch(node, weight, weight, tracer.produce(node, axis, weight), PRODUCES)


def _batched(tracer: Tracer, node: NodeView, rank: int) -> None:
    """Attention's products: a dimension that both operands lose is lost from the sum; batch axes (heads) go in step."""
    left = [each.aligned(rank) for each in tracer.labels(node, 0)]
    right = [each.aligned(rank) for each in tracer.labels(node, 1)]
    sums = (spanning(left, rank - 1), spanning(right, rank - 2))
    _contract(tracer, node, sums, rank)
    passing = [each for each in left if not each.spans(rank - 1)] + [each for each in right if not each.spans(rank - 2)]
    # Where whole rows and their columns both pass (heads of the scores, dimensions of the values), the columns suffice.
    passing = [each for each in passing if not any(set(each.axes) < set(other.axes) for other in passing)]
    for each in passing:
        tracer.lay(node.outputs[0], each.with_zero_kept())
    for axis in range(rank - 2):
        _batch_axis(tracer, node, axis, (left, right), passing, rank)


def _contract(tracer: Tracer, node: NodeView, sums: tuple[Field | None, Field | None], rank: int) -> None:
    """Ties the dimensions that are summed over; each product term is zero where either factor is, so both must be."""
    left, right = sums
    if left is None or right is None:
        for labels, name in zip(sums, node.inputs, strict=True):
            if labels is not None:
                tracer.pin(
                    labels.atoms, name, labels.axes[0], node, "MatMul sums over them with a tensor of fixed size"
                )
        return
    for labels, name in zip((left, right), node.inputs, strict=True):
        tracer.require_zero(node, name, labels)
    facing = Field(np.swapaxes(right.atoms, rank - 1, rank - 2), np.swapaxes(right.dead, rank - 1, rank - 2))
    apart = left.spans(rank - 2) or facing.spans(rank - 2)  # spread over rows of the product as well
    if left.atoms.shape == facing.atoms.shape and not apart:
        tracer.unite(left.atoms, facing.atoms)
    else:  # shared by all heads on one side (multi-query attention): tied across heads on the other
        first = tracer.unite_all(left.atoms.reshape(-1, left.atoms.shape[-1]))
        tracer.unite(first, tracer.unite_all(facing.atoms.reshape(-1, facing.atoms.shape[-1])))
    # Scored on the left alone (the queries): both sides are the same channels.
    tracer.read(node.inputs[0], left)


def _batch_axis(
    tracer: Tracer,
    node: NodeView,
    axis: int,
    sides: tuple[list[Field], list[Field]],
    passing: list[Field],
    rank: int,
) -> None:
    """Ties what both operands carry along a batch axis, and lays it over the output where nothing else does."""
    rows = []
    for name, fields in zip(node.inputs, sides, strict=True):
        size = tracer.view.shapes[name]
        own = [tracer.coarse(each, axis) for each in fields if each.spans(axis)]
        rows.extend(own)
        position = axis - (rank - len(size))
        if not own and position >= 0 and size[position] > 1:
            for each in (one for side in sides for one in side if one.spans(axis)):
                tracer.pin(
                    tracer.coarse(each, axis), name, axis, node, "MatMul runs over them with a tensor of fixed size"
                )
    if rows:
        tied = tracer.unite_all(rows)
        if spanning(passing, axis) is None:
            tracer.lay(node.outputs[0], Field.along(axis, rank, tied, np.nan))


@rule("Attention")
def attention(tracer: Tracer, node: NodeView) -> None:
    """softmax(scale * Q K^T + mask) V for Q, K, V of (B, heads, T, dimensions), with as many heads each."""
    shapes = [tracer.view.shape(name) for name in node.inputs[:3]]
    mask = tracer.view.shape(node.input(3)) if node.input(3) else ()
    plain = len({shape[HEADS] for shape in shapes if shape is not None and len(shape) == 4}) == 1
    if not plain or any(shape is None or len(shape) != 4 for shape in shapes) or any(node.inputs[4:]) or mask is None:
        tracer.block_inputs(node, "Attention with folded or grouped heads, or with a cache")
        return
    for name in node.inputs[:3]:
        tracer.block(node, name, "Attention runs over this axis", axes=(0, 2))
    queries, keys, values = (spanning(tracer.fields(name), DIMENSIONS) for name in node.inputs[:3])
    _tie_products(tracer, node, queries, keys)
    rows = [tracer.coarse(each, HEADS) for each in (queries, keys, values) if each is not None and each.spans(HEADS)]
    fixed = len(rows) < 3 or (len(mask) == 4 and mask[HEADS] > 1)
    for row in rows:
        tracer.unite(rows[0], row)
        if fixed:
            tracer.pin(row, node.inputs[0], HEADS, node, "Attention's heads meet a tensor of fixed size")
    if values is not None:
        tracer.lay(node.outputs[0], values.with_zero_kept())


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
    tracer.read(node.inputs[0], queries)
