"""Random valid graphs from the vocabulary of vision models: what `Grower` writes, the analysis must survive.

A graph is grown from its input: each step picks a tensor and an operator that its shape allows. The choices come from
outside, so that hypothesis can shrink them.
"""

from __future__ import annotations

from collections.abc import Callable

import onnx

from random_graphs.attention import attention, tokens
from random_graphs.convolutions import conv, dequantised_conv, grouped_conv, shared_weight, transposed_conv
from random_graphs.elementwise import (
    binary,
    clip,
    divide,
    gelu,
    prelu,
    quantised,
    residual,
    swish,
    unary,
    unknown,
    where,
    with_constant,
)
from random_graphs.grower import DYNAMIC, Choose, Grower
from random_graphs.matrices import einsum, gemm, matmul, moved_weight, product
from random_graphs.movement import (
    depth_to_space,
    expand,
    free_reshape,
    shuffle,
    space_to_depth,
    squeeze,
    tile,
    transpose,
)
from random_graphs.norms import batch_norm, group_norm, instance_norm, layer_norm
from random_graphs.picking import concat, gather, pad, roll, slice_, split
from random_graphs.pooling import gate, pool, reduce, resize, softmax

__all__ = ["grow_graph"]

VOCABULARY: tuple[Callable[[Grower], str | None], ...] = (
    conv, conv, conv, conv, conv, grouped_conv, grouped_conv, transposed_conv, batch_norm, instance_norm, group_norm,
    layer_norm, unary, unary, unary, clip, gelu, swish, binary, binary, binary, residual, residual, with_constant,
    with_constant, divide, prelu, where, transpose, free_reshape, shuffle, slice_, roll, split, concat, concat, pad,
    gather, squeeze, expand, tile, depth_to_space, space_to_depth, pool, reduce, gate, resize, softmax, gemm, matmul,
    matmul, product, tokens, attention, attention, einsum, quantised, dequantised_conv, moved_weight, shared_weight,
    unknown,
)  # fmt: skip


def grow_graph(choose: Choose, most_steps: int = 12) -> onnx.ModelProto:
    """Grows a graph: a first convolution, some steps, and one to three outputs, most of them behind a linear layer."""
    grow = Grower(choose, choose(range(14, 22)), choose([DYNAMIC, DYNAMIC, 1, 3]))
    for index in range(choose([1, 1, 1, 2])):
        grow.inputs[f"x{index}"] = grow.shapes[f"x{index}"] = (grow.batch, 3, 4, 4)
    conv(grow, "x0", choose([4, 8]))
    for _ in range(choose(range(1, most_steps + 1))):
        choose(VOCABULARY)(grow)
    outputs = []
    for _ in range(choose([1, 1, 2, 3])):
        tensor = choose(grow.tensors(lambda shape: len(shape) > 1)[: choose([1, 2, 4])])
        outputs.append(tensor if choose([False] * 7 + [True]) else _head(grow, tensor))
    return grow.model(sorted(set(outputs) - set(grow.inputs)) or [_head(grow, next(iter(grow.inputs)))])


def _head(grow: Grower, tensor: str) -> str:
    shape = grow.shapes[tensor]
    if len(shape) == 4 and grow.choose([True, False]):
        return conv(grow, tensor, 2)
    return grow.add("MatMul", [tensor, grow.weight(shape[-1], 2, fan_in=shape[-1])], (*shape[:-1], 2))
