"""What must change beside the parameters: numbers of channels written into attributes and shape constants."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from agfedge_export.channels.rules.movement import slice_bounds

if TYPE_CHECKING:
    import onnx_graphsurgeon as gs
    from numpy.typing import NDArray

    from agfedge_export.channels.labels import Field
    from agfedge_export.channels.tracer import Tracer
    from agfedge_export.graph.view import GraphView, NodeView


@dataclass(frozen=True)
class Surgeon:
    """What a rewrite may ask: the graph being edited, the analysis, and which atoms go."""

    graph: gs.Graph
    tracer: Tracer
    removed: NDArray[np.bool_]

    @property
    def view(self) -> GraphView:
        """The original graph."""
        return self.tracer.view

    def fields(self, tensor: str, reader: NodeView | None = None) -> tuple[Field, ...]:
        """Returns the fields of a tensor; a constant has those that its `reader` gave it, as its first input."""
        return self.tracer.fields(tensor) if reader is None else self.tracer.labelled(reader, 0)

    def stays(self, tensor: str, axis: int, reader: NodeView | None = None) -> NDArray[np.bool_] | None:
        """Returns which indices along an axis of an original tensor keep anything, or None when all do."""
        for labels in self.fields(tensor, reader):
            if labels.spans(axis):
                stays: NDArray[np.bool_] = np.logical_not(self.removed[labels.rows(axis)].all(axis=1))
                if not stays.all():
                    return stays
        return None

    def kept_before(self, tensor: str, axis: int, reader: NodeView | None = None) -> NDArray[np.int64] | None:
        """Returns how many indices stay before each along an axis, int64 (size + 1,), or None when all do.

        Rows that lose different columns keep equally many of them wherever that is asked for.
        """
        for labels in self.fields(tensor, reader):
            kept = ~self.removed[labels.atoms]
            if not labels.spans(axis) or kept.all():
                continue
            others = tuple(each for each in range(kept.ndim) if each != axis)
            if len(labels.axes) > 1 and axis != labels.column:
                kept = np.asarray(kept.any(axis=others, keepdims=True))
            return np.append(0, np.cumsum(kept, axis=axis).max(axis=others))
        return None

    def new_sizes(self, tensor: str) -> dict[int, int]:
        """Returns the size of every axis of an original tensor that loses something."""
        sizes: dict[int, int] = {}
        for labels in self.tracer.fields(tensor):
            if self.removed[labels.atoms].any():
                sizes.update(_sizes_left(labels, ~self.removed[labels.atoms]))
        return sizes


def _sizes_left(labels: Field, kept: NDArray[np.bool_]) -> dict[int, int]:
    """Returns what is left of each axis that a field spans: whole slices of rows, and columns of the rows that stay."""
    column = labels.columns
    sizes = {}
    for axis in labels.axes:
        if axis != column:
            others = tuple(each for each in range(kept.ndim) if each != axis)
            kept = np.compress(kept.any(axis=others), kept, axis=axis)
            sizes[axis] = kept.shape[axis]
    return {**sizes, column: int(kept.sum(axis=column).max(initial=0))}


def _constant(name: str, values: NDArray[np.generic] | list[int]) -> gs.Constant:
    """Makes a constant of its own for one node's input; lists become int64."""
    import onnx_graphsurgeon as gs

    dtype = np.int64 if isinstance(values, list) else None
    return gs.Constant(name, np.asarray(values, dtype, order="C"))  # a scalar stays one


Rewrite = Callable[[Surgeon, "NodeView", "gs.Node"], None]


def rewrite_shapes(graph: gs.Graph, tracer: Tracer, removed: NDArray[np.bool_]) -> None:
    """Rewrites every attribute and shape constant that counts channels which are gone."""
    surgeon = Surgeon(graph, tracer, removed)
    originals = list(graph.nodes)
    _freeze_shapes(surgeon)
    for view, node in zip(tracer.view.nodes, originals, strict=True):
        rewrite = _REWRITES.get(view.op) if not view.domain else None
        labelled = any(tracer.fields(name) for name in (*view.inputs[:1], *view.outputs))
        if rewrite is not None and labelled:
            rewrite(surgeon, view, node)


def _freeze_shapes(surgeon: Surgeon) -> None:
    """What the graph computes from the shape of a tensor that loses channels keeps its original value.

    A scale of 1 / sqrt(channels) must stay what it was; sizes that name channels are rewritten one by one below.
    """
    view = surgeon.view
    tainted: set[str] = set()
    for node_view, node in zip(view.nodes, list(surgeon.graph.nodes), strict=True):
        shape_of = node_view.inputs[0] if node_view.op in ("Shape", "Size") and node_view.inputs else None
        if shape_of is not None and surgeon.new_sizes(shape_of):
            tainted.update(node_view.outputs)
            if node_view.outputs[0] not in view.static_values:
                _restore_shape(surgeon, node_view, node)
        elif any(name in view.values for name in node_view.outputs) and tainted.intersection(node_view.inputs):
            tainted.update(node_view.outputs)
        elif tainted.intersection(node_view.inputs):
            for position, name in enumerate(node_view.inputs):
                if name in tainted and name in view.static_values:
                    node.inputs[position] = _constant(f"{node_view.name}__{position}", view.static_values[name])


def _restore_shape(surgeon: Surgeon, view: NodeView, node: gs.Node) -> None:
    """Puts the original sizes back into a shape that holds symbolic ones too, where anyone reads them."""
    import onnx_graphsurgeon as gs

    if view.op == "Size":
        return
    rank = surgeon.tracer.rank(view.inputs[0])
    offered = list(range(rank))[view.attributes.get("start", 0) : view.attributes.get("end", rank)]
    sizes = surgeon.view.static_shapes[view.inputs[0]]
    changed = surgeon.new_sizes(view.inputs[0])
    original = {at: size for at, axis in enumerate(offered) if axis in changed and (size := sizes[axis]) is not None}
    if not original.keys() & _positions_read(surgeon, view.outputs[0], len(offered)):
        return
    shrunk = gs.Variable(f"{view.name}__shrunk", np.int64)
    restored = node.outputs[0]
    node.outputs[0] = shrunk
    place = surgeon.graph.nodes.index(node) + 1
    surgeon.graph.nodes[place:place] = _splice(view.name, shrunk, restored, len(offered), original)


def _positions_read(surgeon: Surgeon, shape: str, length: int) -> set[int]:
    """Returns which entries of a shape are read, as far as Gather and Slice by constants tell."""
    view = surgeon.view
    read: set[int] = set(range(length)) if shape in view.graph_outputs else set()
    for reader, position in view.consumers.get(shape, []):
        parts = [view.fixed(reader.input(at)) for at in range(1, 5)]
        if reader.op == "Gather" and position == 0 and parts[0] is not None:
            read.update(int(index) % length for index in parts[0].ravel())
        elif reader.op == "Slice" and position == 0 and parts[0] is not None and parts[1] is not None:
            read.update(range(length)[slice_bounds(parts, 1)[0]])
        else:
            read.update(range(length))
    return read


def _splice(name: str, source: gs.Tensor, target: gs.Tensor, length: int, new: dict[int, int]) -> list[gs.Node]:
    """Returns nodes that copy a vector with some entries replaced: slices and constants, which every runtime folds."""
    import onnx_graphsurgeon as gs

    nodes: list[gs.Node] = []
    parts: list[gs.Tensor] = []
    start = 0
    for position in [*sorted(new), length]:
        if position > start:
            bounds = [
                _constant(f"{name}__{label}_{start}", [value])
                for label, value in (("from", start), ("to", position), ("axis", 0))
            ]
            part = gs.Variable(f"{name}__part_{start}", np.int64)
            nodes.append(gs.Node("Slice", f"{name}__slice_{start}", {}, [source, *bounds], [part]))
            parts.append(part)
        if position in new:
            parts.append(_constant(f"{name}__size_{position}", [new[position]]))
        start = position + 1
    return [*nodes, gs.Node("Concat", f"{name}__splice", {"axis": 0}, parts, [target])]


def _groups(surgeon: Surgeon, view: NodeView, node: gs.Node) -> None:
    """Grouped convolution and normalisation: whole groups are gone."""
    name = "group" if view.op == "Conv" else "num_groups"
    groups = int(view.attributes.get(name, 1))
    stays = surgeon.stays(view.inputs[0], 1)
    if groups > 1 and stays is not None:
        node.attrs[name] = int(stays.reshape(groups, -1).any(axis=1).sum())


def _attention_scale(surgeon: Surgeon, view: NodeView, node: gs.Node) -> None:
    """Attention: the scale that follows from the number of dimensions stays what it was."""
    if "scale" not in view.attributes and 3 in surgeon.new_sizes(view.inputs[0]):
        node.attrs["scale"] = float(surgeon.view.shapes[view.inputs[0]][3] ** -0.5)


def _reshape_target(surgeon: Surgeon, view: NodeView, node: gs.Node) -> None:
    """Reshape and Expand: the target names the new number of channels; what it left to be inferred stays inferred."""
    changed = surgeon.new_sizes(view.outputs[0])
    if not changed and not surgeon.new_sizes(view.inputs[0]):
        return
    old = surgeon.view.fixed(view.inputs[1])
    target = _symbolic_target(surgeon, view) if old is None else old.astype(np.int64).copy()
    if target is None:
        _patch_computed(surgeon, view, node, changed)
        return
    offset = len(target) - surgeon.tracer.rank(view.outputs[0])
    copied = {axis for axis, size in enumerate(target) if size == 0 and view.op == "Reshape"}
    for axis, size in changed.items():
        if axis + offset >= 0 and axis not in copied and target[axis + offset] != (-1 if view.op == "Reshape" else 1):
            target[axis + offset] = size
    _write_copied(surgeon, view, target, copied)
    node.inputs[1] = _constant(f"{view.name}__shape", target)


def _write_copied(surgeon: Surgeon, view: NodeView, target: NDArray[np.int64], copied: set[int]) -> None:
    """Zero in a Reshape's target copies the input's size: where that is not the new one, it is written out."""
    shapes = surgeon.view.shapes
    before, after = (surgeon.new_sizes(name) for name in (view.inputs[0], view.outputs[0]))
    for axis in copied & (before.keys() | after.keys()):
        size = after.get(axis, shapes[view.outputs[0]][axis])
        if before.get(axis, shapes[view.inputs[0]][axis]) != size:
            target[axis] = size


def _symbolic_target(surgeon: Surgeon, view: NodeView) -> NDArray[np.int64] | None:
    """Returns a constant target for one that the graph computes, or None when two sizes would have to be inferred."""
    sizes, before = (surgeon.view.static_shapes[name] for name in (view.outputs[0], view.inputs[0]))
    if view.op != "Reshape":
        return None
    dynamic = [axis for axis, size in enumerate(sizes) if size is None]
    target = np.array([-1 if size is None else size for size in sizes], dtype=np.int64)
    for axis in dynamic[:-1]:
        # Zero copies the input's dimension, where that one is dynamic at the same place and all before it agree.
        if axis >= len(before) or before[: axis + 1] != sizes[: axis + 1]:
            return None
        target[axis] = 0
    return target


def _patch_computed(
    surgeon: Surgeon, view: NodeView, node: gs.Node, changed: dict[int, int], position: int = 1
) -> None:
    """Overwrites the channel counts in sizes that the graph computes, right before they are read."""
    import onnx_graphsurgeon as gs

    length = (surgeon.view.shape(view.inputs[position]) or (surgeon.tracer.rank(view.outputs[0]),))[0]
    offset = length - surgeon.tracer.rank(view.outputs[0])
    new = {axis + offset: size for axis, size in changed.items() if axis + offset >= 0}
    if not new:
        return
    patched = gs.Variable(f"{view.name}__patched", np.int64)
    place = surgeon.graph.nodes.index(node)
    surgeon.graph.nodes[place:place] = _splice(view.name, node.inputs[position], patched, length, new)
    node.inputs[position] = patched


def _slice_bounds(surgeon: Surgeon, view: NodeView, node: gs.Node) -> None:
    """Slice of the channels: bounds count what stays before them."""
    constants = [surgeon.view.number(view.input(position)) for position in range(1, 5)]
    if constants[0] is None or constants[1] is None:
        return
    rank = surgeon.tracer.rank(view.inputs[0])
    starts, ends = constants[0].copy(), constants[1].copy()
    changed = False
    for position, (axis, bounds) in enumerate(slice_bounds(constants, rank).items()):
        before = surgeon.kept_before(view.inputs[0], axis, view)
        if before is None:
            continue
        size = len(before) - 1
        first, last, _ = bounds.indices(size)
        if (first, last) == (0, size):
            continue
        starts[position], ends[position] = before[first], before[last]
        changed = True
    if changed:
        node.inputs[1] = _constant(f"{view.name}__starts", starts)
        node.inputs[2] = _constant(f"{view.name}__ends", ends)


def _split_sizes(surgeon: Surgeon, view: NodeView, node: gs.Node) -> None:
    """Split along the channels: every output has its own new size."""
    axis = int(view.attributes.get("axis", 0)) % surgeon.tracer.rank(view.inputs[0])
    if not any(axis in surgeon.new_sizes(output) for output in view.outputs):
        return
    shapes = surgeon.view.shapes
    sizes = [surgeon.new_sizes(output).get(axis, shapes[output][axis]) for output in view.outputs]
    if surgeon.view.opset < 13:
        node.attrs["split"] = sizes
        return
    node.attrs.pop("num_outputs", None)
    constant = _constant(f"{view.name}__sizes", sizes)
    node.inputs = [node.inputs[0], constant]


def _gather_indices(surgeon: Surgeon, view: NodeView, node: gs.Node) -> None:
    """Gather of the channels: indices count what stays before them; channels that are gone are not picked."""
    indices = surgeon.view.fixed(view.inputs[1])
    axis = int(view.attributes.get("axis", 0)) % surgeon.tracer.rank(view.inputs[0])
    stays = surgeon.stays(view.inputs[0], axis, view)
    if indices is None or stays is None or indices.ndim > 1:
        return
    picked = np.where(indices < 0, indices + len(stays), indices)
    renumbered = (np.cumsum(stays) - 1)[picked if indices.ndim == 0 else picked[stays[picked]]]
    node.inputs[1] = _constant(f"{view.name}__indices", renumbered.astype(indices.dtype))


def _resize_sizes(surgeon: Surgeon, view: NodeView, node: gs.Node) -> None:
    """Resize to sizes: the number of channels is one of them."""
    changed = surgeon.new_sizes(view.outputs[0])
    if not changed or not view.input(3):
        return
    sizes = surgeon.view.fixed(view.input(3))
    if sizes is None:
        _patch_computed(surgeon, view, node, changed, position=3)
        return
    sizes, rank = sizes.copy(), surgeon.tracer.rank(view.inputs[0])
    axes_given = view.attributes.get("axes") or range(len(sizes))
    for position, axis in enumerate(axes_given):
        sizes[position] = changed.get(axis % rank, sizes[position])
    node.inputs[3] = _constant(f"{view.name}__sizes", sizes)


def _squeezed_axes(surgeon: Surgeon, view: NodeView, node: gs.Node) -> None:
    """Squeeze of every axis of size one: channels of which one is left are not meant."""
    if view.input(1) or "axes" in view.attributes or not surgeon.new_sizes(view.inputs[0]):
        return
    axes = [axis for axis, size in enumerate(surgeon.view.shapes[view.inputs[0]]) if size == 1]
    if surgeon.view.opset < 13:
        node.attrs["axes"] = axes
    else:
        node.inputs = [node.inputs[0], _constant(f"{view.name}__axes", axes)]


def _pad_amounts(surgeon: Surgeon, view: NodeView, node: gs.Node) -> None:
    """Pad along the channels: fewer entries are added."""
    pads = surgeon.view.fixed(view.inputs[1])
    axes = surgeon.view.fixed(view.input(3)) if view.input(3) else None
    rank = surgeon.tracer.rank(view.inputs[0])
    if pads is None or (view.input(3) and axes is None):
        return
    padded = [int(axis) % rank for axis in (range(rank) if axes is None else axes.ravel())]
    pads, changed = pads.copy(), False
    for position, axis in enumerate(padded):
        stays = surgeon.stays(view.outputs[0], axis)
        before, after = int(pads[position]), int(pads[position + len(padded)])
        if stays is None or not (before or after):
            continue
        pads[position], pads[position + len(padded)] = stays[:before].sum(), stays[len(stays) - after :].sum()
        changed = True
    if changed:
        node.inputs[1] = _constant(f"{view.name}__pads", pads)


_REWRITES: dict[str, Rewrite] = {
    "Attention": _attention_scale,
    "Conv": _groups,
    "Expand": _reshape_target,
    "Gather": _gather_indices,
    "GroupNormalization": _groups,
    "Pad": _pad_amounts,
    "Reshape": _reshape_target,
    "Resize": _resize_sizes,
    "Slice": _slice_bounds,
    "Split": _split_sizes,
    "Squeeze": _squeezed_axes,
}
