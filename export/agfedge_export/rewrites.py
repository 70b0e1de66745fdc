"""What must change beside the parameters: numbers of channels written into attributes and shape constants."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnx_graphsurgeon as gs
    from numpy.typing import NDArray

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
        labels = self.tracer.field(tensor, axis)
        if labels is None:
            return None
        stays: NDArray[np.bool_] = ~self.removed[labels.atoms.ravel()]
        return None if stays.all() else stays

    def constant(self, name: str, values: NDArray[np.generic]) -> gs.Constant:
        """Makes a constant of its own for one node's input."""
        import onnx_graphsurgeon as gs

        return gs.Constant(name, values)


Rewrite = Callable[[Surgeon, "NodeView", "gs.Node"], None]


def rewrite_shapes(graph: gs.Graph, tracer: Tracer, removed: NDArray[np.bool_]) -> None:
    """Rewrites every attribute and shape constant that counts channels which are gone."""
    surgeon = Surgeon(graph, tracer, removed)
    for view, node in zip(tracer.view.nodes, graph.nodes, strict=True):
        rewrite = _REWRITES.get(view.op) if not view.domain else None
        if rewrite is not None:
            rewrite(surgeon, view, node)


def _groups(surgeon: Surgeon, view: NodeView, node: gs.Node) -> None:
    """Grouped convolution: whole groups are gone."""
    groups = int(view.attributes.get("group", 1))
    stays = surgeon.stays(view.inputs[0], 1)
    if groups > 1 and stays is not None:
        node.attrs["group"] = int(stays.sum()) * groups // len(stays)


def _reshape_target(surgeon: Surgeon, view: NodeView, node: gs.Node) -> None:
    """Reshape: the target names the new number of channels; what it left to be inferred stays inferred."""
    output = view.outputs[0]
    if surgeon.tracer.view.shape(output) is None or surgeon.tracer.view.shape(view.inputs[0]) is None:
        return  # the analysis kept these channels whole
    rank = surgeon.tracer.rank(output)
    masks = {axis: surgeon.stays(output, axis) for axis in range(rank)}
    changed = {axis: int(mask.sum()) for axis, mask in masks.items() if mask is not None}
    if not changed and not any(
        surgeon.stays(view.inputs[0], axis) is not None for axis in range(surgeon.tracer.rank(view.inputs[0]))
    ):
        return
    old = surgeon.tracer.view.constant(view.inputs[1])
    target = _symbolic_target(surgeon, view) if old is None else old.astype(np.int64).copy()
    for axis, size in changed.items():
        if target[axis] not in (-1, 0):
            target[axis] = size
    node.inputs[1] = surgeon.constant(f"{view.name}__shape", target)


def _symbolic_target(surgeon: Surgeon, view: NodeView) -> NDArray[np.int64]:
    """Returns a constant target for one that the graph computes: static sizes, and at most one to be inferred."""
    sizes = surgeon.tracer.view.static_shapes[view.outputs[0]]
    return np.array([-1 if size is None else size for size in sizes], dtype=np.int64)


def _slice_bounds(surgeon: Surgeon, view: NodeView, node: gs.Node) -> None:
    """Slice of the channels: bounds count what stays before them."""
    starts, ends = (surgeon.tracer.view.constant(view.inputs[position]) for position in (1, 2))
    if starts is None or ends is None:
        return
    given = surgeon.tracer.view.constant(view.input(3))
    rank = surgeon.tracer.rank(view.inputs[0])
    axes = [int(axis) % rank for axis in (given if given is not None else range(len(starts)))]
    starts, ends = starts.copy(), ends.copy()
    changed = False
    for position, axis in enumerate(axes):
        stays = surgeon.stays(view.inputs[0], axis)
        if stays is None:
            continue
        first, last, _ = slice(int(starts[position]), int(ends[position])).indices(len(stays))
        starts[position], ends[position] = stays[:first].sum(), stays[:last].sum()
        changed = True
    if changed:
        node.inputs[1] = surgeon.constant(f"{view.name}__starts", starts)
        node.inputs[2] = surgeon.constant(f"{view.name}__ends", ends)


def _pad_amounts(surgeon: Surgeon, view: NodeView, node: gs.Node) -> None:
    """Pad along the channels: fewer entries are added."""
    pads = surgeon.tracer.view.constant(view.inputs[1])
    if pads is None:
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
    "Pad": _pad_amounts,
    "Reshape": _reshape_target,
    "Slice": _slice_bounds,
}
