"""Operators that only move data: labels are moved the same way, and read off where they land."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from agfedge_export.channels.labels import Field
from agfedge_export.channels.rules import rule

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from agfedge_export.channels.tracer import Tracer
    from agfedge_export.graph.view import NodeView

    Move = Callable[[NDArray[Any]], NDArray[Any]]


def moved(labels: Field, move: Move) -> Field:
    """Runs a movement on labels; axes along which they are constant afterwards shrink to one."""
    atoms, dead = move(labels.atoms), move(labels.dead)
    column = None
    if labels.column is not None:
        # Where did the column axis go? Its own positions are moved along to tell.
        size = labels.atoms.shape[labels.column]
        shape = [size if axis == labels.column else 1 for axis in range(labels.atoms.ndim)]
        positions = move(np.broadcast_to(np.arange(size).reshape(shape), labels.atoms.shape))
        varying = [axis for axis in range(positions.ndim) if _varies(positions, axis)]
        column = varying[0] if len(varying) == 1 else None
    for axis in range(atoms.ndim):
        if atoms.shape[axis] > 1 and not _varies(atoms, axis):
            atoms, dead = atoms.take([0], axis=axis), dead.take([0], axis=axis)
    return Field(np.ascontiguousarray(atoms), np.ascontiguousarray(dead), column)


def _varies(array: NDArray[Any], axis: int) -> bool:
    return bool(array.shape[axis] > 1 and (array != array.take([0], axis=axis)).any())


def reshaped(labels: Field, before: tuple[int, ...], after: tuple[int, ...]) -> Field:
    """Reshapes the labels of a tensor, block by block: axes that no label depends on never grow to their full size."""
    spread: list[int] = []
    result: list[int] = []
    for olds, news in aligned_blocks(before, after):
        touched = any(labels.spans(axis) for axis in olds)
        spread.extend(before[axis] if touched else 1 for axis in olds)
        result.extend(after[axis] if touched else 1 for axis in news)
    return moved(labels, lambda array: np.broadcast_to(array, spread).reshape(result))


def aligned_blocks(before: tuple[int, ...], after: tuple[int, ...]) -> list[tuple[range, range]]:
    """Cuts two shapes of equal size into the smallest runs of axes that hold the same number of elements."""
    blocks = []
    start_old = start_new = old = new = 0
    while old < len(before) or new < len(after):
        old, new = min(old + 1, len(before)), min(new + 1, len(after))
        while prod(before[start_old:old]) != prod(after[start_new:new]):
            if prod(before[start_old:old]) < prod(after[start_new:new]) and old < len(before):
                old += 1
            elif new < len(after):
                new += 1
            else:
                old += 1
        blocks.append((range(start_old, old), range(start_new, new)))
        start_old, start_new = old, new
    return blocks


@rule("Reshape", "Flatten", "Squeeze", "Unsqueeze")
def reshape(tracer: Tracer, node: NodeView) -> None:
    """Elements keep their order."""
    data, output = node.inputs[0], node.outputs[0]
    before, after = tracer.view.shapes[data], tracer.view.shapes[output]
    if 0 in before or prod(before) != prod(after):
        tracer.block(node, data, f"shapes around {node.op} are unknown")
        return
    laid: list[tuple[Field, Field]] = []
    # Those whose dead channels are known to be zero first: they are the ones that a linear layer may lose.
    for each in sorted(tracer.labels(node, 0), key=lambda each: (bool((each.dead != 0).any()), -each.atoms.size)):
        new = reshaped(each, before, after)
        if any(set(new.axes) & set(twin.axes) and not set(each.axes) & set(source.axes) for source, twin in laid):
            tracer.pin(each.atoms, data, each.axes[0], node, f"{node.op} joins this axis with that of other channels")
            continue
        laid.append((each, new))
        tracer.lay(output, new)


@rule("Transpose")
def transpose(tracer: Tracer, node: NodeView) -> None:
    """Axes change places."""
    for each in tracer.labels(node, 0):
        order = node.attributes.get("perm") or tuple(reversed(range(each.atoms.ndim)))
        tracer.lay(node.outputs[0], moved(each, lambda array, order=order: array.transpose(order)))  # type: ignore[misc]


@rule("Concat")
def concat(tracer: Tracer, node: NodeView) -> None:
    """Along the concatenated axis each operand keeps its channels; along the others operands share theirs."""
    shapes = [tracer.view.shape(name) for name in node.inputs]
    if any(shape is None for shape in shapes):
        tracer.block_inputs(node, "an operand of Concat has an unknown shape")
        return
    rank = tracer.rank(node.inputs[0])
    axis = int(node.attributes["axis"]) % rank
    operands = [tracer.labels(node, position) for position in range(len(node.inputs))]
    _concat_others(tracer, node, operands, axis)
    whole = _spread_alike(tracer, operands, axis)
    if whole is not None:
        tracer.lay(node.outputs[0], whole)
        return
    along = [
        tracer.field(name, axis) or _along(fields, axis) for name, fields in zip(node.inputs, operands, strict=True)
    ]
    if not any(along):
        return
    parts = [labels or _fixed_part(tracer, node, position, axis) for position, labels in enumerate(along)]
    atoms, dead = (np.concatenate([getattr(part, name).ravel() for part in parts]) for name in ("atoms", "dead"))
    tracer.lay(node.outputs[0], Field.along(axis, rank, atoms, dead))


def _fixed_part(tracer: Tracer, node: NodeView, position: int, axis: int) -> Field:
    """Labels an operand of Concat that has no channels."""
    name = node.inputs[position]
    atoms = tracer.new_atoms(node, f"fixed {position}", tracer.view.shapes[name][axis], name)
    tracer.pin(atoms, name, axis, node, f"{name} has no channels that can be removed")
    return Field.along(axis, tracer.rank(name), atoms, np.nan)


def _spread_alike(tracer: Tracer, operands: list[tuple[Field, ...]], axis: int) -> Field | None:
    """Returns the field of columns that are concatenated row by row (heads of which halves are swapped), or None."""
    columns = [next((each for each in fields if each.column == axis), None) for fields in operands]
    spread = [each for each in columns if each is not None]
    if len(spread) < len(operands) or len({(*each.axes, *np.delete(each.atoms.shape, axis)) for each in spread}) > 1:
        return None
    atoms = np.concatenate([each.atoms for each in spread], axis)
    whole = Field(atoms, np.concatenate([each.dead for each in spread], axis), axis)
    for each in spread:
        _tie_rows(tracer, whole, each)
    return whole


def _along(fields: tuple[Field, ...], axis: int) -> Field | None:
    return next((each for each in fields if each.axes == (axis,)), None)


def _concat_others(tracer: Tracer, node: NodeView, operands: list[tuple[Field, ...]], axis: int) -> None:
    """Channels on axes that are not concatenated are the same in all operands."""
    merged = tracer.merge_operands(node.outputs[0], [[one for one in each if not one.spans(axis)] for each in operands])
    for labels in merged:
        held = []
        for name, fields in zip(node.inputs, operands, strict=True):
            own = next((each for each in fields if each.axes == labels.axes), None)
            if own is None:
                reason = "Concat joins them with a tensor whose channels are fixed"
                tracer.pin(labels.atoms, name, labels.axes[0], node, reason)
            held.append(np.full(labels.atoms.shape, np.nan) if own is None else own.dead)
        same = np.logical_and.reduce([each == held[0] for each in held])
        tracer.lay(node.outputs[0], labels.with_dead(np.where(same, held[0], np.nan)))


@rule("Slice")
def slice_(tracer: Tracer, node: NodeView) -> None:
    """Channels on an axis that is not sliced pass; a slice of the channels keeps those that it takes."""
    data = node.inputs[0]
    shape = tracer.view.shapes[data]
    parts = [tracer.view.number(node.input(position)) for position in range(1, 5)]
    if parts[0] is None or parts[1] is None:
        tracer.block(node, data, "Slice with computed bounds")
        return
    picks = {}
    for axis, bounds in slice_bounds(parts, len(shape)).items():
        picks[axis] = np.arange(shape[axis])[bounds]
        whole = len(range(*bounds.indices(shape[axis]))) == shape[axis] and bounds.indices(shape[axis])[2] == 1
        literal = all(tracer.view.fixed(node.input(position)) is not None for position in (1, 2))
        if not whole and (bounds.indices(shape[axis])[2] != 1 or not literal):
            tracer.block(node, data, "Slice of the channels with a step or computed bounds", axes=(axis,))
    for each in tracer.labels(node, 0):
        for axis, picked in picks.items():
            if axis == each.column and len(picked) and picked[0] > 0:
                # Every row has to lose equally many columns before the slice, too.
                before = each.taken(np.arange(picked[0]), axis)
                tracer.joint(before)
                _tie_rows(tracer, each, before)
        _lay_picked(tracer, node, node.outputs[0], each, picks)


def _lay_picked(
    tracer: Tracer, node: NodeView, output: str, labels: Field, picks: dict[int, NDArray[np.int64]]
) -> None:
    """Lays over the output what is picked along some axes. What is picked alone leaves no axis to shrink: it stays."""
    for axis, picked in picks.items():
        if labels.spans(axis) and len(set(picked.tolist())) == 1:
            tracer.pin(tracer.coarse(labels, axis)[picked], node.inputs[0], axis, node, f"{node.op} picks it alone")
        if axis == labels.column and 0 < len(picked) < labels.atoms.shape[axis]:
            _tie_rows(tracer, labels, labels.taken(picked, axis))
    along = {axis: picked for axis, picked in picks.items() if labels.spans(axis)}

    def pick(array: NDArray[Any]) -> NDArray[Any]:
        for axis, picked in along.items():
            array = array.take(picked, axis=axis)
        return array

    tracer.lay(output, moved(labels, pick))


def _tie_rows(tracer: Tracer, labels: Field, part: Field) -> None:
    """Some columns of a row go as a whole only together with the row: what is left has as many rows in every part."""
    for axis in labels.axes:
        if axis != labels.column:
            tracer.unite(tracer.coarse(labels, axis), tracer.coarse(part, axis))


def slice_bounds(parts: list[NDArray[Any] | None], rank: int) -> dict[int, slice]:
    """Returns the slice along each sliced axis, from Slice's starts, ends, axes and steps."""
    starts, ends = (part.ravel().tolist() if part is not None else [] for part in parts[:2])
    axes = parts[2].ravel().tolist() if parts[2] is not None else list(range(len(starts)))
    steps = parts[3].ravel().tolist() if parts[3] is not None else [1] * len(starts)
    bounds = {}
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        # Beyond the first element, a backward slice has no end.
        stop = None if step < 0 and end < -(2**31) + 1 else end
        bounds[axis % rank] = slice(start, stop, step)
    return bounds


@rule("Split")
def split(tracer: Tracer, node: NodeView) -> None:
    """Each output takes its run of channels."""
    data = node.inputs[0]
    axis = int(node.attributes.get("axis", 0)) % tracer.rank(data)
    start = 0
    for output in node.outputs:
        shape = tracer.view.shape(output)
        if shape is None:
            tracer.block(node, data, "the sizes of Split are unknown")
            return
        run = np.arange(start, start + shape[axis])
        start += shape[axis]
        for each in tracer.labels(node, 0):
            _lay_picked(tracer, node, output, each, {axis: run})


@rule("Gather")
def gather(tracer: Tracer, node: NodeView) -> None:
    """Entries along one axis are picked by index; channels on other axes pass."""
    data, output = node.inputs[0], node.outputs[0]
    shape = tracer.view.shapes[data]
    indices = tracer.view.number(node.inputs[1])
    index_shape = tracer.view.shape(node.inputs[1]) if indices is None else indices.shape
    if index_shape is None:
        tracer.block(node, data, "Gather with an unknown shape")
        return
    axis = int(node.attributes.get("axis", 0)) % len(shape)
    if indices is None or indices.ndim > 1 or tracer.view.fixed(node.inputs[1]) is None:
        means = "a table" if tracer.view.fixed(node.inputs[1]) is not None else "computed indices"
        tracer.block(node, data, f"Gather picks these channels by {means}", axes=(axis,))
    for each in tracer.labels(node, 0):
        picks = np.zeros((1,) * len(index_shape), dtype=np.int64)
        if each.spans(axis):
            if indices is None:
                continue
            picks = indices
            each = _picked_by(tracer, node, each, axis, indices)
        tracer.lay(output, moved(each, lambda array, picks=picks: array.take(picks, axis=axis)))  # type: ignore[misc]


def _picked_by(tracer: Tracer, node: NodeView, labels: Field, axis: int, indices: NDArray[Any]) -> Field:
    """Ties or pins channels that Gather picks; returns their labels."""
    data = node.inputs[0]
    if indices.ndim > 1:
        tracer.pin(labels.atoms, data, axis, node, "Gather picks these channels by a table")
        return labels
    if indices.ndim == 1 and axis == labels.column:  # indices count the same columns of every row
        labels = tracer.tie(data, labels, (axis,))
    if len(np.unique(indices % labels.atoms.shape[axis])) == 1:
        # What is picked alone leaves no axis to shrink: that channel, or that row, stays.
        alone = tracer.coarse(labels, axis)[indices.reshape(-1)[:1]]
        tracer.pin(alone, data, axis, node, "Gather picks it alone")
    return labels


@rule("Pad")
def pad(tracer: Tracer, node: NodeView) -> None:
    """Constant entries beside the channels are channels of their own, which cost nothing to drop."""
    data = node.inputs[0]
    pads = _pads(tracer, node)
    value = tracer.view.number(node.input(2)) if node.input(2) else np.zeros(1)
    if pads is None or value is None:
        tracer.block(node, data, "Pad with computed amounts")
        return
    mode = node.attributes.get("mode", b"constant").decode()
    fill = float(np.asarray(value).ravel()[0])
    padded = tuple(axis for axis, amounts in enumerate(pads) if any(amounts))
    for each in tracer.labels(node, 0):
        along = [axis for axis in each.axes if axis in padded]
        beside = [axis for axis in padded if axis not in each.axes]
        dead = np.where(each.dead == fill, each.dead, np.nan) if beside and mode == "constant" else each.dead
        if not along:
            tracer.lay(node.outputs[0], each.with_dead(dead))
        elif mode != "constant" or min(pads[along[0]]) < 0 or len(each.axes) > 1:
            tracer.pin(each.atoms, data, along[0], node, f"Pad in mode {mode} along the channels")
        else:
            (axis,) = along
            fresh = tracer.new_atoms(node, "padding", sum(pads[axis]), f"{node.name} (padding)")
            atoms = np.concatenate([fresh[: pads[axis][0]], each.atoms.ravel(), fresh[pads[axis][0] :]])
            values = np.pad(dead.ravel(), pads[axis], constant_values=fill)
            tracer.lay(node.outputs[0], Field.along(axis, each.atoms.ndim, atoms, values))


def _pads(tracer: Tracer, node: NodeView) -> list[tuple[int, int]] | None:
    """Returns the entries added before and after each axis, or None where they are computed."""
    pads = tracer.view.number(node.input(1))
    rank = tracer.rank(node.inputs[0])
    if pads is None:
        return None
    axes = tracer.view.number(node.input(3)) if node.input(3) else np.arange(rank)
    if axes is None:
        return None
    amounts = [(0, 0)] * rank
    for position, axis in enumerate(axes.ravel().tolist()):
        amounts[axis % rank] = (int(pads[position]), int(pads[position + len(axes.ravel())]))
    return amounts


@rule("Expand", "Tile")
def expand(tracer: Tracer, node: NodeView) -> None:
    """Axes of size one are repeated; channels are not, or they are tiled whole."""
    data, output = node.inputs[0], node.outputs[0]
    before, after = tracer.view.shapes[data], tracer.view.shapes[output]
    extra = len(after) - len(before)
    for each in tracer.labels(node, 0):
        grown = tuple(axis for axis in each.axes if after[axis + extra] != before[axis])
        if grown:
            tracer.pin(each.atoms, data, grown[0], node, f"{node.op} repeats these channels")
        else:
            tracer.lay(output, each.aligned(len(after)))
    for axis, size in enumerate(after):
        if node.op == "Expand" and size > 1 and (axis < extra or before[axis - extra] == 1):
            # What is the same for every index can be repeated fewer times, to follow whatever it meets.
            atoms = tracer.new_atoms(node, f"repeated {axis}", size, data, passive=True)
            tracer.lay(output, Field.along(axis, len(after), atoms, np.nan))


@rule("DepthToSpace", "SpaceToDepth")
def depth_space(tracer: Tracer, node: NodeView) -> None:
    """Pixel shuffle: channels that become pixels of one channel live and die together."""
    data, output = node.inputs[0], node.outputs[0]
    tracer.block(node, data, f"{node.op} moves these pixels", axes=(0, 2, 3))
    labels = tracer.field(data, 1)
    if labels is None:
        return
    atoms, dead = labels.atoms.ravel(), labels.dead.ravel()
    block = int(node.attributes["blocksize"]) ** 2
    if node.op == "SpaceToDepth":
        tracer.lay(output, Field.along(1, 4, np.tile(atoms, block), np.tile(dead, block)))
        return
    column_first = node.attributes.get("mode", b"DCR").decode() == "CRD"
    rows = atoms.reshape(-1, block) if column_first else atoms.reshape(block, -1).T
    values = dead.reshape(-1, block) if column_first else dead.reshape(block, -1).T
    same = (values == values[:, :1]).all(axis=1)
    tracer.lay(output, Field.along(1, 4, tracer.unite_all(rows.T), np.where(same, values[:, 0], np.nan)))
