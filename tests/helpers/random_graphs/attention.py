"""Tokens and attention."""

from __future__ import annotations

import numpy as np

from random_graphs.grower import Grower


def tokens(grow: Grower) -> str | None:
    data = grow.pick(lambda shape: len(shape) == 4 and 2 <= shape[2] * shape[3] <= 64)
    if data is None:
        return None
    _, channels, height, width = grow.shapes[data]
    flat = grow.reshape(data, channels, height * width)
    shape = (grow.shapes[data][0], height * width, channels)
    return grow.add("Transpose", [flat], shape, perm=[0, 2, 1])


def attention(grow: Grower) -> str | None:
    """Multi-head attention over tokens (N, T, C): fused or separate projections, one or many key heads, a bias."""
    data = grow.pick(lambda shape: len(shape) == 3 and shape[1] <= 64)
    if data is None:
        return None
    batch, length, width = grow.shapes[data]
    heads, size = grow.choose([1, 2, 3]), grow.choose([2, 4])
    how = grow.choose(["fused", "separate", "multi-query"])
    make = {"fused": _fused, "separate": _separate, "multi-query": _multi_query}[how]
    query, key, value = make(grow, data, heads, size)
    scores = grow.add("MatMul", [query, key], (batch, heads, length, length))
    scores = grow.add("Mul", [scores, grow.constant(np.float32(size**-0.5))], grow.shapes[scores])
    if grow.choose([True, False]):
        scores = grow.add("Add", [scores, grow.weight(heads, length, length)], grow.shapes[scores])
    mixed = grow.add("Softmax", [scores], grow.shapes[scores], axis=-1)
    out = grow.add("MatMul", [mixed, value], (batch, heads, length, size))
    back = grow.add("Transpose", [out], (batch, length, heads, size), perm=[0, 2, 1, 3])
    merged = grow.reshape(back, length, heads * size)
    weight = grow.weight(heads * size, width, fan_in=heads * size)
    projected = grow.add("MatMul", [merged, weight], (batch, length, width))
    return grow.add("Add", [projected, data], (batch, length, width)) if grow.choose([True, False]) else projected


def _linear(grow: Grower, data: str, count: int) -> str:
    shape = grow.shapes[data]
    product_ = grow.add("MatMul", [data, grow.weight(shape[-1], count, fan_in=shape[-1])], (*shape[:-1], count))
    if not grow.choose([True, False]):
        return product_
    return grow.add("Add", [product_, grow.bias(count)], grow.shapes[product_])


def _heads(grow: Grower, data: str, heads: int, size: int, *, key: bool = False) -> str:
    batch, length, _ = grow.shapes[data]
    spread = grow.reshape(data, length, heads, size)
    if key:
        return grow.add("Transpose", [spread], (batch, heads, size, length), perm=[0, 2, 3, 1])
    return grow.add("Transpose", [spread], (batch, heads, length, size), perm=[0, 2, 1, 3])


def _fused(grow: Grower, data: str, heads: int, size: int) -> tuple[str, str, str]:
    batch, length, _ = grow.shapes[data]
    spread = grow.reshape(_linear(grow, data, 3 * heads * size), length, 3, heads, size)
    shape = (3, batch, heads, length, size)
    moved = grow.add("Transpose", [spread], shape, perm=[2, 0, 3, 1, 4])
    del grow.shapes[moved]  # its first axis is not the batch
    picks = [grow.constant(np.array(index, dtype=np.int64)) for index in range(3)]
    query, key, value = (grow.add("Gather", [moved, pick], shape[1:], axis=0) for pick in picks)
    key = grow.add("Transpose", [key], (batch, heads, size, length), perm=[0, 1, 3, 2])
    return query, key, value


def _separate(grow: Grower, data: str, heads: int, size: int) -> tuple[str, str, str]:
    parts = [_linear(grow, data, heads * size) for _ in range(3)]
    return tuple(_heads(grow, part, heads, size, key=at == 1) for at, part in enumerate(parts))  # type: ignore[return-value]


def _multi_query(grow: Grower, data: str, heads: int, size: int) -> tuple[str, str, str]:
    query = _heads(grow, _linear(grow, data, heads * size), heads, size)
    key = _heads(grow, _linear(grow, data, size), 1, size, key=True)
    return query, key, _heads(grow, _linear(grow, data, size), 1, size)
