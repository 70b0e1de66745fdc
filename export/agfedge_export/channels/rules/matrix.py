"""Matrix products: by a constant weight, of two computed matrices, and the Attention operator (opset 23)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agfedge_export.channels.labels import Field
from agfedge_export.channels.rules import rule
from agfedge_export.channels.tracer import PRODUCES, Read

if TYPE_CHECKING:
    from numpy.typing import NDArray

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
        for name in node.inputs:
            tracer.block(node, name, "Gemm of two computed matrices, or of a transposed one")
        return
    tracer.block(node, data, "Gemm's row axis", axes=(0,))
    produced_axis, consumed_axis = (0, 1) if node.attributes.get("transB", 0) else (1, 0)
    tracer.consume(node, data, 1, weight=1, weight_axis=consumed_axis)
    atoms = tracer.produce(node, node.outputs[0], 1, shape[produced_axis], tracer.view.root(weight))
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
    output = tracer.view.shape(node.outputs[0])
    if left is None or right is None or output is None or min(len(left), len(right)) < 2:
        for name in node.inputs:
            tracer.block(node, name, "MatMul of unknown shapes or of a vector")
    elif len(right) == 2 and tracer.view.is_derived(node.inputs[1]):
        _by_weight(tracer, node, len(left) - 1, right[1])
    elif len(left) == 2 and tracer.view.is_derived(node.inputs[0]):
        _by_left_weight(tracer, node, len(right), left[0])
    else:
        _batched(tracer, node, len(output))


def _by_weight(tracer: Tracer, node: NodeView, last: int, count: int) -> None:
    data, weight = node.inputs
    tracer.consume(node, data, last, weight=1, weight_axis=0)
    for each in tracer.fields(data):
        if not each.spans(last):
            tracer.lay(node.outputs[0], each.with_zero_kept())
    atoms = tracer.produce(node, node.outputs[0], last, count, tracer.view.root(weight))
    tracer.touch(node, 1, 1, atoms, PRODUCES)


def _by_left_weight(tracer: Tracer, node: NodeView, rank: int, count: int) -> None:
    weight, data = node.inputs
    tracer.consume(node, data, rank - 2, weight=0, weight_axis=1)
    for each in tracer.fields(data):
        if not each.spans(rank - 2):
            tracer.lay(node.outputs[0], each.with_zero_kept())
    atoms = tracer.produce(node, node.outputs[0], rank - 2, count, tracer.view.root(weight))
    tracer.touch(node, 0, 0, atoms, PRODUCES)


def _batched(tracer: Tracer, node: NodeView, rank: int) -> None:
    """Attention's products: a dimension that both operands lose is lost from the sum; batch axes (heads) go in step."""
    left = [each.aligned(rank) for each in tracer.labels(node, 0)]
    right = [each.aligned(rank) for each in tracer.labels(node, 1)]
    sums = (_along(left, rank - 1), _along(right, rank - 2))
    _contract(tracer, node, sums, rank)
    passing = [each for each in left if not each.spans(rank - 1)] + [each for each in right if not each.spans(rank - 2)]
    # Where whole rows and their columns both pass (heads of the scores, dimensions of the values), the columns suffice.
    passing = [each for each in passing if not any(set(each.axes) < set(other.axes) for other in passing)]
    for each in passing:
        tracer.lay(node.outputs[0], each.with_zero_kept())
    for axis in range(rank - 2):
        _batch_axis(tracer, node, axis, (left, right), passing, rank)


def _along(fields: list[Field], axis: int) -> Field | None:
    return next((each for each in fields if each.spans(axis)), None)


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
        first = _tied_to_last(tracer, left.atoms, rank)
        tracer.unite(first, _tied_to_last(tracer, facing.atoms, rank))
    # Scored on the left alone (the queries): both sides are the same channels.
    extra = rank - tracer.rank(node.inputs[0])
    sizes = [left.atoms.shape[axis] for axis in left.axes]
    tracer.reads.append(Read(node.inputs[0], tuple(axis - extra for axis in left.axes), left.atoms.reshape(sizes)))


def _tied_to_last(tracer: Tracer, atoms: NDArray[np.int64], rank: int) -> NDArray[np.int64]:
    rows: NDArray[np.int64] = atoms.reshape(-1, atoms.shape[rank - 1])
    for row in rows[1:]:
        tracer.unite(rows[0], row)
    first: NDArray[np.int64] = rows[0]
    return first


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
    for other in rows[1:]:
        tracer.unite(rows[0], other)
    if rows and not any(each.spans(axis) for each in passing):
        tracer.lay(node.outputs[0], Field.along(axis, rank, rows[0], np.nan))


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
