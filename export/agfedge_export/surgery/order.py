"""The order of what stays: behind a channel shuffle whose rows lost different columns, it is not ascending.

The graph is cut with every axis in ascending order, which settles all sizes, and traced once more with the channels
that stay as labels. Where they land on a parameter's axis is the order in which its entries must be taken.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from agfedge_export.channels.analyse import trace
from agfedge_export.channels.tracer import Tracer
from agfedge_export.errors import OrderError
from agfedge_export.graph.view import view_of
from agfedge_export.surgery.edits import edges_of, edited, forget_shapes, taken
from agfedge_export.surgery.rewrites import rewrite_shapes

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

    from agfedge_export.channels.groups import Analysis
    from agfedge_export.channels.labels import Field
    from agfedge_export.graph.view import NodeView

    Orders = dict[tuple[int, int, int], NDArray[np.int64]]


def kept_orders(analysis: Analysis, gone: NDArray[np.bool_]) -> Orders:
    """Returns the order of the entries that stay for the axes where it may not be ascending.

    Args:
        analysis: of the original model.
        gone: which atoms go, bool (atoms,).

    Returns:
        For (node, input, axis), indices into the original axis in their new order.

    Raises:
        OrderError: channels that meet would come in different orders.
    """
    if not any(_ragged(gone[labels.atoms], labels) for labels in analysis.tracer.joints):
        return {}
    again = Replay(view_of(_cut_in_order(analysis, gone)), analysis.tracer.inexact, first=analysis.tracer, gone=gone)
    trace(again)
    orders: Orders = {}
    landed = {touch.place: touch.atoms for touch in again.touches}
    for touch in analysis.tracer.touches:
        if touch.place in landed and gone[touch.atoms].any():
            order = _order(touch.atoms, landed[touch.place], gone)
            if order is None:
                again.conflicts.extend(touch.atoms.tolist())
            else:
                orders[touch.place] = order
    if again.conflicts:
        raise OrderError(again.conflicts)
    return orders


def _cut_in_order(analysis: Analysis, gone: NDArray[np.bool_]) -> onnx.ModelProto:
    """Returns the graph without the atoms that go, every axis in ascending order, node for node as the original."""
    import onnx_graphsurgeon as gs

    edges = edges_of((touch, np.flatnonzero(~gone[touch.atoms])) for touch in analysis.tracer.touches)
    graph = edited(analysis, edges, taken)
    rewrite_shapes(graph, analysis.tracer, gone)
    forget_shapes(graph)
    model: onnx.ModelProto = gs.export_onnx(graph, do_type_check=False)
    return model


def _ragged(gone: NDArray[np.bool_], labels: Field) -> bool:
    """Whether the rows of a joint field lose different columns."""
    rows = np.moveaxis(gone, labels.columns, -1).reshape(-1, gone.shape[labels.columns])
    rows = rows[~rows.all(axis=1)]
    return bool((rows != rows[:1]).any())


def _order(atoms: NDArray[np.int64], landed: NDArray[np.int64], gone: NDArray[np.bool_]) -> NDArray[np.int64] | None:
    """Finds the original index of each channel that landed; a channel that comes several times keeps its own order.

    Returns:
        The indices, or None where other channels landed than those that stay.
    """
    waiting: dict[int, list[int]] = {}
    for index in np.flatnonzero(~gone[atoms]).tolist():
        waiting.setdefault(int(atoms[index]), []).append(index)
    order = []
    for atom in landed.tolist():
        indices = waiting.get(atom) if atom >= 0 else [-1]
        if not indices:
            return None
        order.append(indices.pop(0))
    # A single channel leaves no label: what nobody claimed goes where nothing landed.
    left = sorted(index for indices in waiting.values() for index in indices)
    if len(left) != order.count(-1):
        return None
    return np.array([left.pop(0) if index < 0 else index for index in order], dtype=np.int64)


@dataclass
class Replay(Tracer):
    """Traces the cut graph with the atoms of the first trace that stay; it only checks what the first one decided."""

    first: Tracer = field(kw_only=True)
    gone: NDArray[np.bool_] = field(kw_only=True)
    conflicts: list[int] = field(default_factory=list, kw_only=True)
    _pairs: dict[int, set[tuple[int, int]]] = field(default_factory=dict)

    def new_atoms(
        self, node: NodeView, what: str, count: int, name: str, *, passive: bool = False
    ) -> NDArray[np.int64]:
        """Returns the atoms that stay of those made here the first time; -1 for what had none."""
        del name, passive
        made = self.first.fresh.get((node.index, what))
        stay = np.array([], dtype=np.int64) if made is None else made[~self.gone[made]]
        return stay if len(stay) == count else np.full(count, -1, dtype=np.int64)

    def unite(self, left: NDArray[np.int64], right: NDArray[np.int64]) -> None:
        """Notes where channels meet that did not meet before; a shared weight is taken in each reader's order."""
        if self.node is None:
            return
        if self.node not in self._pairs:
            arrays = self.first.met.get(self.node, [])
            self._pairs[self.node] = {
                pair for one, other in arrays for pair in zip(one.ravel().tolist(), other.ravel().tolist(), strict=True)
            }
        for a, b in zip(left.ravel().tolist(), right.ravel().tolist(), strict=True):
            if a >= 0 and b >= 0 and (a, b) not in self._pairs[self.node]:
                self.conflicts.append(a)

    def coarse(self, labels: Field, axis: int) -> NDArray[np.int64]:
        """Rows keep their order: nothing to follow."""
        return labels.atoms.ravel() if labels.axes == (axis,) else np.full(labels.atoms.shape[axis], -1, dtype=np.int64)

    def pin(self, atoms: NDArray[np.int64], tensor: str, axis: int, node: NodeView | None, reason: str) -> None:
        """What must stay has stayed; notes where it stands in another order than before."""
        del node
        before = self.first.pinned.get((self.node, tensor, axis, reason))
        if before is not None and before.size == atoms.size:
            find = self.first.atoms.find
            pairs = zip(before.tolist(), atoms.ravel().tolist(), strict=True)
            self.conflicts.extend(b for a, b in pairs if a >= 0 and b >= 0 and find(a) != find(b))

    def require_zero(self, node: NodeView, tensor: str, labels: Field) -> None:
        """A linear node's weights are taken in whatever order its inputs have."""
        del node, tensor, labels
