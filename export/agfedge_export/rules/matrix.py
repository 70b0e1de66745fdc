"""Matrix products: Gemm and MatMul with a constant operand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agfedge_export.labels import Field
from agfedge_export.rules.registry import rule
from agfedge_export.tracer import PRODUCES

if TYPE_CHECKING:
    from agfedge_export.tracer import Tracer
    from agfedge_export.view import NodeView


@rule("Gemm")
def gemm(tracer: Tracer, node: NodeView) -> None:
    """Y = A B + C with A (M, K), B (K, N) or transposed, C broadcastable to (M, N)."""
    data, weight = node.inputs[0], node.inputs[1]
    shape = tracer.view.constant_shape(weight)
    if shape is None or node.attributes.get("transA", 0) or tracer.view.shape(node.outputs[0]) is None:
        for name in node.inputs:
            tracer.block(node, name, "Gemm of two computed matrices, or of a transposed one")
        return
    tracer.block(node, data, "Gemm's row axis", axes=(0,))
    produced_axis, consumed_axis = (0, 1) if node.attributes.get("transB", 0) else (1, 0)
    tracer.consume(node, data, 1, weight=1, weight_axis=consumed_axis)
    atoms = tracer.produce(node, node.outputs[0], 1, shape[produced_axis], tracer.view.root(weight))
    tracer.touch(node, 1, produced_axis, atoms, PRODUCES)
    if node.input(2):
        bias = tracer.view.constant_shape(node.input(2))
        if bias is None:
            tracer.pin(atoms, node.input(2), 1, node, "Gemm's bias is computed")
        elif bias and bias[-1] == len(atoms):
            tracer.touch(node, 2, len(bias) - 1, atoms, PRODUCES)
        else:
            tracer.pin(atoms, node.input(2), 1, node, "Gemm's bias is one number for all channels")


@rule("MatMul")
def matmul(tracer: Tracer, node: NodeView) -> None:
    """A product with one constant 2-D operand: (..., K) by (K, N)."""
    data, weight = node.inputs[0], node.inputs[1]
    shape = tracer.view.constant_shape(weight)
    output = tracer.view.shape(node.outputs[0])
    if shape is None or len(shape) != 2 or output is None or tracer.view.is_constant(data):
        for name in node.inputs:
            tracer.block(node, name, "MatMul without a constant 2-D right operand")
        return
    last = tracer.rank(data) - 1
    for each in tracer.fields.get(data, ()):
        if not each.spans(last):
            dead = each.dead * 0.0 if not each.dead.any() else each.dead * float("nan")
            tracer.lay(node.outputs[0], Field(each.atoms, dead))
    tracer.consume(node, data, last, weight=1, weight_axis=0)
    atoms = tracer.produce(node, node.outputs[0], len(output) - 1, shape[1], tracer.view.root(weight))
    tracer.touch(node, 1, 1, atoms, PRODUCES)
