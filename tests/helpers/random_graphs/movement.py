"""Operators that move values: axes in another order, other shapes, flattened, split and joined."""

from __future__ import annotations

from math import prod

from random_graphs.grower import MOST_ELEMENTS, Grower, some_axis, with_size


def transpose(grow: Grower) -> str | None:
    data = grow.pick(lambda shape: len(shape) > 2)
    if data is None:
        return None
    shape = grow.shapes[data]
    order, rest = [0], list(range(1, len(shape)))
    while rest:
        order.append(grow.choose(rest))
        rest.remove(order[-1])
    return grow.add("Transpose", [data], [shape[axis] for axis in order], perm=order)


def free_reshape(grow: Grower) -> str | None:
    """Splits an axis in two, merges two neighbours, or flattens."""
    data = grow.pick(lambda shape: 2 <= len(shape) <= 5)
    if data is None:
        return None
    rest = list(grow.shapes[data][1:])
    how = grow.choose(["split", "merge", "flatten", "flatten operator"])
    if how == "split":
        axis = grow.choose(range(len(rest)))
        factor = grow.choose([each for each in range(1, rest[axis] + 1) if rest[axis] % each == 0])
        rest[axis : axis + 1] = [factor, rest[axis] // factor]
    elif how == "merge" and len(rest) > 1:
        axis = grow.choose(range(len(rest) - 1))
        rest[axis : axis + 2] = [rest[axis] * rest[axis + 1]]
    elif how == "flatten operator":
        return grow.add("Flatten", [data], (grow.shapes[data][0], prod(rest)))
    else:
        rest = [prod(rest)]
    return grow.reshape(data, *rest)


def shuffle(grow: Grower) -> str | None:
    data = grow.map()
    _, channels, height, width = grow.shapes[data]
    groups = [each for each in range(2, channels) if channels % each == 0]
    if not groups:
        return None
    group = grow.choose(groups)
    split = grow.reshape(data, group, channels // group, height, width)
    shape = (grow.shapes[data][0], channels // group, group, height, width)
    swapped = grow.add("Transpose", [split], shape, perm=[0, 2, 1, 3, 4])
    return grow.reshape(swapped, channels, height, width)


def squeeze(grow: Grower) -> str | None:
    data = grow.pick(lambda shape: len(shape) > 1)
    if data is None:
        return None
    shape = grow.shapes[data]
    ones = [axis for axis, size in enumerate(shape) if axis and size == 1]
    if ones and len(shape) > 2 and grow.choose([True, False]):
        if len(ones) == 1 and shape[0] > 1 and grow.choose([True, False]):
            return grow.add("Squeeze", [data], (*shape[: ones[0]], *shape[ones[0] + 1 :]))
        return grow.axes_form("Squeeze", data, ones[:1], (*shape[: ones[0]], *shape[ones[0] + 1 :]), 13)
    if len(shape) > 4:
        return None
    axis = grow.choose(range(1, len(shape) + 1))
    return grow.axes_form("Unsqueeze", data, [axis], (*shape[:axis], 1, *shape[axis:]), 13)


def expand(grow: Grower) -> str | None:
    data = grow.pick(lambda shape: 1 in shape[1:])
    if data is None:
        return None
    shape = grow.shapes[data]
    axis = grow.choose([axis for axis, size in enumerate(shape) if axis and size == 1])
    target = with_size(tuple(grow.choose([1, size]) for size in shape[1:]), axis - 1, grow.choose([1, 2, 4]))
    after = (shape[0], *(max(a, b) for a, b in zip(shape[1:], target, strict=True)))
    if prod(after[1:]) > MOST_ELEMENTS:
        return None
    if grow.choose([True, False]):
        return grow.add("Expand", [data, grow.integers(*target)], after)
    repeats = [b // max(1, a) if a != b else 1 for a, b in zip(shape, after, strict=True)]
    return grow.add("Tile", [data, grow.integers(*repeats)], after)


def tile(grow: Grower) -> str | None:
    data = grow.pick(lambda shape: len(shape) > 1)
    axis = data and some_axis(grow, data)
    if not data or not axis or 2 * prod(grow.shapes[data][1:]) > MOST_ELEMENTS:
        return None
    shape = grow.shapes[data]
    repeats = [2 if each == axis else 1 for each in range(len(shape))]
    return grow.add("Tile", [data, grow.integers(*repeats)], with_size(shape, axis, 2 * shape[axis]))


def depth_to_space(grow: Grower) -> str | None:
    data = grow.pick(lambda shape: len(shape) == 4 and shape[1] % 4 == 0)
    if data is None:
        return None
    batch, channels, height, width = grow.shapes[data]
    mode = grow.choose(["DCR", "CRD"])
    return grow.add("DepthToSpace", [data], (batch, channels // 4, height * 2, width * 2), blocksize=2, mode=mode)


def space_to_depth(grow: Grower) -> str | None:
    data = grow.pick(lambda shape: len(shape) == 4 and shape[2] % 2 == 0 and shape[3] % 2 == 0)
    if data is None:
        return None
    batch, channels, height, width = grow.shapes[data]
    return grow.add("SpaceToDepth", [data], (batch, channels * 4, height // 2, width // 2), blocksize=2)
