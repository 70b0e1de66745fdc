"""Operators that only move data: labels are moved the same way, and read off where they land."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agfedge_export.labels import Field
from agfedge_export.rules.registry import rule

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from agfedge_export.tracer import Tracer
    from agfedge_export.view import NodeView

    Move = Callable[[NDArray[np.generic]], NDArray[np.generic]]


def moved(labels: Field, shape: tuple[int, ...], move: Move) -> Field:
    """Runs a movement on the labels of a tensor of concrete `shape`; axes along which they are constant shrink to 1."""
    atoms = move(np.broadcast_to(labels.atoms, shape))
    dead = move(np.broadcast_to(labels.dead, shape))
    for axis in range(atoms.ndim):
        first = atoms.take([0], axis=axis)
        if atoms.shape[axis] > 1 and (atoms == first).all():
            atoms, dead = first, dead.take([0], axis=axis)
    return Field(atoms.astype(np.int64), dead.astype(np.float64))


def lay_moved(tracer: Tracer, node: NodeView, labels: Field) -> None:
    """Lays moved labels over the node's output; channels that came to span several axes stay whole."""
    if len(labels.axes) > 1:
        tracer.pin(
            labels.atoms,
            node.outputs[0],
            labels.axes[0],
            node,
            f"{node.op} splits channels over several axes",
        )
        return
    tracer.lay(node.outputs[0], labels)


@rule("Reshape", "Flatten")
def reshape(tracer: Tracer, node: NodeView) -> None:
    """Elements keep their order: labels are broadcast to the input's shape and reshaped."""
    data = node.inputs[0]
    before, after = tracer.view.shape(data), tracer.view.shape(node.outputs[0])
    if before is None or after is None:
        tracer.block(node, data, f"shapes around {node.op} are unknown")
        return
    for each in tracer.fields.get(data, ()):
        lay_moved(tracer, node, moved(each, before, lambda array: array.reshape(after)))


@rule("Squeeze", "Unsqueeze")
def squeeze(tracer: Tracer, node: NodeView) -> None:
    """Axes of size one come and go."""
    reshape(tracer, node)


@rule("Transpose")
def transpose(tracer: Tracer, node: NodeView) -> None:
    """Axes change places."""
    data = node.inputs[0]
    for each in tracer.fields.get(data, ()):
        order = node.attributes.get("perm") or tuple(reversed(range(each.atoms.ndim)))
        tracer.lay(node.outputs[0], Field(each.atoms.transpose(order), each.dead.transpose(order)))


@rule("Concat")
def concat(tracer: Tracer, node: NodeView) -> None:
    """Along the concatenated axis each operand keeps its channels; along the others operands share theirs."""
    shapes = [tracer.view.shape(name) for name in node.inputs]
    if any(shape is None for shape in shapes):
        for name in node.inputs:
            tracer.block(node, name, "an operand of Concat has an unknown shape")
        return
    rank = tracer.rank(node.inputs[0])
    axis = int(node.attributes["axis"]) % rank
    for name in node.inputs:
        for other in range(rank):
            if other != axis:
                tracer.block(node, name, "Concat joins another axis", axes=(other,))
    fields = [tracer.field(name, axis) for name in node.inputs]
    if not any(fields):
        return
    atoms, dead = [], []
    for name, labels, shape in zip(node.inputs, fields, shapes, strict=True):
        if labels is not None:
            atoms.append(labels.atoms.ravel())
            dead.append(labels.dead.ravel())
            continue
        size = (shape or ())[axis]
        fixed = tracer.atoms.new(size, name)
        tracer.pin(fixed, name, axis, node, "channels of a tensor that is not pruned")
        atoms.append(fixed)
        dead.append(np.full(size, np.nan))
    tracer.lay(node.outputs[0], Field.along(axis, rank, np.concatenate(atoms), np.concatenate(dead)))


@rule("Slice")
def slice_(tracer: Tracer, node: NodeView) -> None:
    """Channels on an axis that is not sliced pass; a slice of the channels keeps those that it takes."""
    data = node.inputs[0]
    shape = tracer.view.shape(data)
    parts = [tracer.view.constant(node.input(position)) for position in range(1, 5)]
    if shape is None or parts[0] is None or parts[1] is None:
        tracer.block(node, data, "Slice with computed bounds")
        return
    starts, ends = parts[0], parts[1]
    axes = parts[2] if parts[2] is not None else np.arange(len(starts))
    steps = parts[3] if parts[3] is not None else np.ones(len(starts), dtype=np.int64)
    index: list[slice] = [slice(None)] * len(shape)
    for start, end, axis, step in zip(starts.tolist(), ends.tolist(), axes.tolist(), steps.tolist(), strict=True):
        index[axis % len(shape)] = slice(start, end if end >= -shape[axis] or step > 0 else None, step)
    for each in tracer.fields.get(data, ()):
        picked = tuple(part if each.spans(axis) else slice(None) for axis, part in enumerate(index))
        tracer.lay(node.outputs[0], Field(each.atoms[picked], each.dead[picked]))


@rule("Pad")
def pad(tracer: Tracer, node: NodeView) -> None:
    """Constant entries beside the channels are channels of their own, which cost nothing to drop."""
    data = node.inputs[0]
    pads = tracer.view.constant(node.input(1))
    value = tracer.view.constant(node.input(2)) if node.input(2) else np.zeros(1)
    mode = node.attributes.get("mode", b"constant").decode()
    if pads is None or value is None or (node.input(3) and tracer.view.constant(node.input(3)) is None):
        tracer.block(node, data, "Pad with computed amounts")
        return
    fields = tracer.fields.get(data, ())
    for each in fields:
        if len(each.axes) > 1 or len(pads) != 2 * each.atoms.ndim:
            tracer.block(node, data, "Pad on chosen axes of split channels")
            return
        (axis,) = each.axes
        before, after = int(pads[axis]), int(pads[axis + each.atoms.ndim])
        spatial = bool(pads.any()) and (before, after) == (0, 0)
        fill = float(np.asarray(value).ravel()[0])
        dead = np.where(each.dead == fill, each.dead, np.nan) if spatial and mode == "constant" else each.dead
        if (before, after) == (0, 0):
            tracer.lay(node.outputs[0], Field(each.atoms, dead))
        elif mode != "constant" or min(before, after) < 0:
            tracer.block(node, data, f"Pad in mode {mode} along the channels")
        else:
            fresh = tracer.atoms.new(before + after, f"{node.name} (padding)")
            atoms = np.concatenate([fresh[:before], each.atoms.ravel(), fresh[before:]])
            values = np.pad(dead.ravel(), (before, after), constant_values=fill)
            tracer.lay(node.outputs[0], Field.along(axis, each.atoms.ndim, atoms, values))
