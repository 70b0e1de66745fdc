"""What must change beside the parameters: numbers of channels written into attributes and shape constants."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from agfedge_export.rules.movement import slice_bounds

if TYPE_CHECKING:
    import onnx_graphsurgeon as gs
    from numpy.typing import NDArray

    from agfedge_export.labels import Field
    from agfedge_export.tracer import Tracer
    from agfedge_export.view import NodeView


@dataclass(frozen=True)
class Surgeon:
    """What a rewrite may ask: the graph being edited, the analysis, and which atoms go."""

    graph: gs.Graph
    tracer: Tracer
    removed: NDArray[np.bool_]

    def stays(self, tensor: str, axis: int) -> NDArray[np.bool_] | None:
        """Returns which indices along an axis of an original tensor stay, or None when all do."""
        labels = next((each for each in self.tracer.fields(tensor) if each.axes == (axis,)), None)
        if labels is None:
            return None
        stays: NDArray[np.bool_] = ~self.removed[labels.atoms.ravel()]
        return None if stays.all() else stays

    def new_sizes(self, tensor: str) -> dict[int, int]:
        """Returns the size of every axis of an original tensor that loses something."""
        sizes: dict[int, int] = {}
        for labels in self.tracer.fields(tensor):
            if self.removed[labels.atoms].any():
                sizes.update(_sizes_left(labels, ~self.removed[labels.atoms]))
        return sizes

    def constant(self, name: str, values: NDArray[np.generic]) -> gs.Constant:
        """Makes a constant of its own for one node's input."""
        import onnx_graphsurgeon as gs

        return gs.Constant(name, np.ascontiguousarray(values))


def _sizes_left(labels: Field, kept: NDArray[np.bool_]) -> dict[int, int]:
    """Returns what is left of each axis that a field spans: whole slices of rows, and columns of the rows that stay."""
    column = labels.column if labels.column is not None else labels.axes[-1]
    sizes = {}
    for axis in labels.axes:
        if axis != column:
            others = tuple(each for each in range(kept.ndim) if each != axis)
            kept = np.compress(kept.any(axis=others), kept, axis=axis)
            sizes[axis] = kept.shape[axis]
    return {**sizes, column: int(kept.sum(axis=column).max(initial=0))}


Rewrite = Callable[[Surgeon, "NodeView", "gs.Node"], None]


def rewrite_shapes(graph: gs.Graph, tracer: Tracer, removed: NDArray[np.bool_]) -> None:
    """Rewrites every attribute and shape constant that counts channels which are gone."""
    surgeon = Surgeon(graph, tracer, removed)
    originals = list(graph.nodes)
    _freeze_shapes(surgeon)
    for view, node in zip(tracer.view.nodes, originals, strict=True):
        rewrite = _REWRITES.get(view.op) if not view.domain else None
        if rewrite is not None:
            rewrite(surgeon, view, node)


def _freeze_shapes(surgeon: Surgeon) -> None:
    """What the graph computes from the shape of a tensor that loses channels keeps its original value.

    A scale of 1 / sqrt(channels) must stay what it was; sizes that name channels are rewritten one by one below.
    """
    view = surgeon.tracer.view
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
                    node.inputs[position] = surgeon.constant(f"{node_view.name}__{position}", view.static_values[name])


def _restore_shape(surgeon: Surgeon, view: NodeView, node: gs.Node) -> None:
    """Puts the original sizes back into a shape that holds symbolic ones too."""
    import onnx_graphsurgeon as gs

    if view.op == "Size":
        return
    rank = surgeon.tracer.rank(view.inputs[0])
    offered = list(range(rank))[view.attributes.get("start", 0) : view.attributes.get("end", rank)]
    sizes = surgeon.tracer.view.static_shapes[view.inputs[0]]
    original = {
        position: size
        for position, axis in enumerate(offered)
        if axis in surgeon.new_sizes(view.inputs[0]) and (size := sizes[axis]) is not None
    }
    if not original:
        return
    shrunk = gs.Variable(f"{view.name}__shrunk", np.int64)
    positions, values = (np.array(each, dtype=np.int64) for each in zip(*sorted(original.items()), strict=True))
    constants = [
        surgeon.constant(f"{view.name}__positions", positions),
        surgeon.constant(f"{view.name}__sizes", values),
    ]
    restored = node.outputs[0]
    node.outputs[0] = shrunk
    patch = gs.Node("ScatterElements", f"{view.name}__restore", {"axis": 0}, [shrunk, *constants], [restored])
    surgeon.graph.nodes.insert(surgeon.graph.nodes.index(node) + 1, patch)


def _groups(surgeon: Surgeon, view: NodeView, node: gs.Node) -> None:
    """Grouped convolution: whole groups are gone."""
    groups = int(view.attributes.get("group", 1))
    stays = surgeon.stays(view.inputs[0], 1)
    if groups > 1 and stays is not None:
        kept_rows = stays.reshape(groups, -1)
        node.attrs["group"] = int(kept_rows.any(axis=1).sum())


def _norm_groups(surgeon: Surgeon, view: NodeView, node: gs.Node) -> None:
    """Group normalisation: whole groups are gone."""
    stays = surgeon.stays(view.inputs[0], 1)
    if stays is not None:
        groups = int(view.attributes["num_groups"])
        node.attrs["num_groups"] = int(stays.reshape(groups, -1).any(axis=1).sum())


def _reshape_target(surgeon: Surgeon, view: NodeView, node: gs.Node) -> None:
    """Reshape and Expand: the target names the new number of channels; what it left to be inferred stays inferred."""
    changed = surgeon.new_sizes(view.outputs[0])
    if not changed and not surgeon.new_sizes(view.inputs[0]):
        return
    old = surgeon.tracer.view.fixed(view.inputs[1])
    target = _symbolic_target(surgeon, view) if old is None else old.astype(np.int64).copy()
    if target is None:
        _patch_computed(surgeon, view, node, changed)
        return
    offset = len(target) - surgeon.tracer.rank(view.outputs[0])
    for axis, size in changed.items():
        if axis + offset >= 0 and target[axis + offset] not in ((-1, 0) if view.op == "Reshape" else (1,)):
            target[axis + offset] = size
    node.inputs[1] = surgeon.constant(f"{view.name}__shape", target)


def _symbolic_target(surgeon: Surgeon, view: NodeView) -> NDArray[np.int64] | None:
    """Returns a constant target for one that the graph computes, or None when two sizes would have to be inferred."""
    tensors = surgeon.tracer.view
    sizes = tensors.static_shapes[view.outputs[0]]
    before = tensors.static_shapes[view.inputs[0]]
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

    if not changed:
        return
    axes, sizes = (np.array(each, dtype=np.int64) for each in zip(*sorted(changed.items()), strict=True))
    patched = gs.Variable(f"{view.name}__patched", np.int64)
    new = [surgeon.constant(f"{view.name}__axes", axes), surgeon.constant(f"{view.name}__sizes", sizes)]
    scatter = gs.Node("ScatterElements", f"{view.name}__patch", {"axis": 0}, [node.inputs[position], *new], [patched])
    surgeon.graph.nodes.insert(surgeon.graph.nodes.index(node), scatter)
    node.inputs[position] = patched


def _slice_bounds(surgeon: Surgeon, view: NodeView, node: gs.Node) -> None:
    """Slice of the channels: bounds count what stays before them."""
    constants = [surgeon.tracer.view.number(view.input(position)) for position in range(1, 5)]
    if constants[0] is None or constants[1] is None:
        return
    rank = surgeon.tracer.rank(view.inputs[0])
    starts, ends = constants[0].copy(), constants[1].copy()
    changed = False
    for position, (axis, bounds) in enumerate(slice_bounds(constants, rank).items()):
        stays = surgeon.stays(view.inputs[0], axis)
        if stays is None:
            continue
        first, last, _ = bounds.indices(len(stays))
        if (first, last) == (0, len(stays)):
            continue
        starts[position], ends[position] = stays[:first].sum(), stays[:last].sum()
        changed = True
    if changed:
        node.inputs[1] = surgeon.constant(f"{view.name}__starts", starts)
        node.inputs[2] = surgeon.constant(f"{view.name}__ends", ends)


def _split_sizes(surgeon: Surgeon, view: NodeView, node: gs.Node) -> None:
    """Split along the channels: every output has its own new size."""
    axis = int(view.attributes.get("axis", 0)) % surgeon.tracer.rank(view.inputs[0])
    if axis not in surgeon.new_sizes(view.inputs[0]):
        return
    shapes = surgeon.tracer.view.shapes
    sizes = [surgeon.new_sizes(output).get(axis, shapes[output][axis]) for output in view.outputs]
    if surgeon.tracer.view.opset < 13:
        node.attrs["split"] = sizes
        return
    node.attrs.pop("num_outputs", None)
    constant = surgeon.constant(f"{view.name}__sizes", np.array(sizes, dtype=np.int64))
    node.inputs = [node.inputs[0], constant]


def _gather_indices(surgeon: Surgeon, view: NodeView, node: gs.Node) -> None:
    """Gather of the channels: indices count what stays before them; channels that are gone are not picked."""
    indices = surgeon.tracer.view.fixed(view.inputs[1])
    axis = int(view.attributes.get("axis", 0)) % surgeon.tracer.rank(view.inputs[0])
    stays = surgeon.stays(view.inputs[0], axis)
    if indices is None or stays is None or indices.ndim > 1:
        return
    picked = np.where(indices < 0, indices + len(stays), indices)
    renumbered = (np.cumsum(stays) - 1)[picked if indices.ndim == 0 else picked[stays[picked]]]
    node.inputs[1] = surgeon.constant(f"{view.name}__indices", renumbered.astype(indices.dtype))


def _resize_sizes(surgeon: Surgeon, view: NodeView, node: gs.Node) -> None:
    """Resize to sizes: the number of channels is one of them."""
    changed = surgeon.new_sizes(view.outputs[0])
    if not changed or not view.input(3):
        return
    sizes = surgeon.tracer.view.fixed(view.input(3))
    if sizes is None:
        _patch_computed(surgeon, view, node, changed, position=3)
        return
    sizes = sizes.copy()
    axes_given = view.attributes.get("axes") or range(len(sizes))
    for position, axis in enumerate(axes_given):
        sizes[position] = changed.get(axis, sizes[position])
    node.inputs[3] = surgeon.constant(f"{view.name}__sizes", sizes)


def _pad_amounts(surgeon: Surgeon, view: NodeView, node: gs.Node) -> None:
    """Pad along the channels: fewer entries are added."""
    pads = surgeon.tracer.view.fixed(view.inputs[1])
    if pads is None or view.input(3):
        return
    rank = surgeon.tracer.rank(view.inputs[0])
    pads, changed = pads.copy(), False
    for axis in range(rank):
        stays = surgeon.stays(view.outputs[0], axis)
        if stays is None or not (pads[axis] or pads[axis + rank]):
            continue
        before, after = int(pads[axis]), int(pads[axis + rank])
        pads[axis], pads[axis + rank] = stays[:before].sum(), stays[len(stays) - after :].sum()
        changed = True
    if changed:
        node.inputs[1] = surgeon.constant(f"{view.name}__pads", pads)


_REWRITES: dict[str, Rewrite] = {
    "Conv": _groups,
    "Expand": _reshape_target,
    "Gather": _gather_indices,
    "GroupNormalization": _norm_groups,
    "Pad": _pad_amounts,
    "Reshape": _reshape_target,
    "Resize": _resize_sizes,
    "Slice": _slice_bounds,
    "Split": _split_sizes,
}
