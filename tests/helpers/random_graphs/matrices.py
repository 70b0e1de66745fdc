"""Products of matrices."""

from __future__ import annotations

from math import prod

import numpy as np

from random_graphs.grower import Grower


def gemm(grow: Grower) -> str | None:
    data = grow.pick(lambda shape: len(shape) == 2)
    if data is None:
        whole = grow.map()
        data = grow.add("Flatten", [whole], (grow.shapes[whole][0], prod(grow.shapes[whole][1:])))
    batch, width = grow.shapes[data]
    count = grow.choose([2, 4, 6])
    transposed = grow.choose([0, 1])
    inputs = [data, grow.weight(*((count, width) if transposed else (width, count)), fan_in=width)]
    how = grow.choose(["none", "vector", "row", "scalar", "computed"])
    twin = grow.pick(lambda shape: shape == (batch, count))
    if how == "computed" and twin is not None:
        inputs.append(twin)
    elif how != "none":
        shape = {"vector": (count,), "row": (1, count)}.get(how, ())
        inputs.append(grow.constant(grow.generator.standard_normal(shape).astype(np.float32)))
    return grow.add("Gemm", inputs, (batch, count), transB=transposed)


def matmul(grow: Grower) -> str | None:
    data = grow.pick(lambda shape: len(shape) > 1)
    if data is None:
        return None
    shape = grow.shapes[data]
    count = grow.choose([2, 4, 6])
    if len(shape) > 2 and grow.choose([False, False, True]):
        weight = grow.weight(count, shape[-2])
        return grow.add("MatMul", [weight, data], (*shape[:-2], count, shape[-1]))
    weight = grow.weight(shape[-1], count, fan_in=shape[-1])
    product = grow.add("MatMul", [data, weight], (*shape[:-1], count))
    return grow.add("Add", [product, grow.bias(count)], grow.shapes[product]) if grow.choose([True, False]) else product


def product(grow: Grower) -> str | None:
    """A product of two computed matrices."""
    left = grow.pick(lambda shape: len(shape) > 2)
    if left is None:
        return None
    shape = grow.shapes[left]
    right = grow.pick(lambda other: len(other) == len(shape) and other[:-2] == shape[:-2] and other[-2] == shape[-1])
    if right is None:
        order = [*range(len(shape) - 2), len(shape) - 1, len(shape) - 2]
        right = grow.add("Transpose", [left], [shape[axis] for axis in order], perm=order)
    result = grow.add("MatMul", [left, right], (*shape[:-1], grow.shapes[right][-1]))
    return grow.add("Mul", [result, grow.constant(np.float32(1 / shape[-1] ** 0.5))], grow.shapes[result])


def einsum(grow: Grower) -> str | None:
    """Attention's products as einsum writes them, or a linear layer."""
    data = grow.pick(lambda shape: len(shape) == 4)
    if data is None:
        return None
    batch, heads, length, width = grow.shapes[data]
    if grow.choose([True, False]):
        count = grow.choose([2, 4])
        inputs = [data, grow.weight(width, count, fan_in=width)]
        return grow.add("Einsum", inputs, (batch, heads, length, count), equation="bhtd,de->bhte")
    twin = grow.pick(lambda shape: len(shape) == 4 and shape[:2] == (batch, heads) and shape[3] == width) or data
    shape = (batch, heads, length, grow.shapes[twin][2])
    return grow.add("Einsum", [data, twin], shape, equation="bhqd,bhkd->bhqk")


def moved_weight(grow: Grower) -> str | None:
    """A linear layer whose weight is stored transposed, reshaped or behind Identity."""
    data = grow.pick(lambda shape: len(shape) > 1)
    if data is None:
        return None
    width, count = grow.shapes[data][-1], grow.choose([2, 4])
    how = grow.choose(["transpose", "reshape", "identity", "squeeze"])
    if how == "transpose":
        weight = grow.add("Transpose", [grow.weight(count, width)], (width, count), perm=[1, 0])
    elif how == "reshape":
        weight = grow.add("Reshape", [grow.weight(width * count, fan_in=width), grow.integers(width, count)], ())
    elif how == "squeeze":
        weight = grow.axes_form("Squeeze", grow.weight(width, 1, count, fan_in=width), [1], (width, count), 13)
    else:
        weight = grow.add("Identity", [grow.weight(width, count, fan_in=width)], (width, count))
    del grow.shapes[weight]
    return grow.add("MatMul", [data, weight], (*grow.shapes[data][:-1], count))
