"""The state of one analysis: what is known of every tensor's channels, and the calls that rules make to add to it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from agfedge_export.labels import Atoms, Field, Pin

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from agfedge_export.view import GraphView, NodeView

PRODUCES, CARRIES, CONSUMES = "produces", "carries", "consumes"


@dataclass(frozen=True)
class Touch:
    """One axis of one parameter, as one node reads it.

    Attributes:
        tensor: the parameter's name in the original graph.
        node: index of the reading node in the original node list.
        input: position among that node's inputs.
        axis: the axis that channels run along.
        atoms: int64 (size of the axis,), the channel of every index.
        role: "produces" (zeroing an entry zeroes its channel), "carries" or "consumes".
    """

    tensor: str
    node: int
    input: int
    axis: int
    atoms: NDArray[np.int64]
    role: str


@dataclass(frozen=True)
class Read:
    """A feature map as a linear node reads it: after normalisation and activation, where AGF scores its channels.

    Attributes:
        tensor: name of the feature map in the original graph.
        axis: its channel axis.
        atoms: int64 (size of the axis,).
    """

    tensor: str
    axis: int
    atoms: NDArray[np.int64]


@dataclass
class Tracer:
    """What the rules know and record while they walk the graph from inputs to outputs."""

    view: GraphView
    atoms: Atoms = field(default_factory=Atoms)
    fields: dict[str, list[Field]] = field(default_factory=dict)
    touches: list[Touch] = field(default_factory=list)
    reads: list[Read] = field(default_factory=list)

    # -- reading ----------------------------------------------------------------------------------------------

    def rank(self, tensor: str) -> int:
        """Returns the number of axes of a tensor whose shape is known."""
        return len(self.view.shapes[tensor])

    def field(self, tensor: str, axis: int) -> Field | None:
        """Returns the field that runs along one axis of a tensor and no other, or None."""
        for each in self.fields.get(tensor, ()):
            if each.axes == (axis,):
                return each
        return None

    # -- recording --------------------------------------------------------------------------------------------

    def lay(self, tensor: str, labels: Field) -> None:
        """Adds a field to a tensor."""
        if labels.axes:
            self.fields.setdefault(tensor, []).append(labels)

    def produce(self, node: NodeView, tensor: str, axis: int, count: int, name: str) -> NDArray[np.int64]:
        """Gives one axis of a node's output fresh atoms; returns them."""
        atoms = self.atoms.new(count, name)
        if count > 1:
            self.lay(tensor, Field.along(axis, self.rank(tensor), atoms))
        else:
            self.pin(atoms, tensor, axis, node, "the axis has a single channel")
        return atoms

    def touch(self, node: NodeView, position: int, axis: int, atoms: NDArray[np.int64], role: str) -> None:
        """Records that an axis of a constant input runs along these atoms; pins them when it is not a constant."""
        name = node.input(position)
        if not self.view.is_constant(name):
            self.pin(atoms, name, axis, node, f"input {position} of {node.op} is computed, not a constant")
            return
        self.touches.append(Touch(self.view.root(name), node.index, position, axis, atoms, role))

    def consume(self, node: NodeView, tensor: str, axis: int, weight: int, weight_axis: int) -> None:
        """Records that a linear node sums over an axis of `tensor`, by an axis of its constant input `weight`.

        Removal is exact only where a dead channel holds zero: others are pinned.
        """
        labels = self.field(tensor, axis)
        if labels is None:
            self.block(node, tensor, f"{node.op} sums over axis {axis} of split channels", axes=(axis,))
            fixed = self.atoms.new(self.view.shapes[tensor][axis], tensor)
            self.pin(fixed, tensor, axis, node, f"{tensor} has no channels that can be removed")
            self.touch(node, weight, weight_axis, fixed, CONSUMES)
            return
        atoms, dead = labels.atoms.ravel(), labels.dead.ravel()
        alive = dead != 0  # NaN compares unequal
        if alive.any():
            value = dead[alive][0]
            held = "a value that depends on the input" if np.isnan(value) else f"{value:.4g}"
            self.pin(atoms[alive], tensor, axis, node, f"a zeroed channel reaches {node.op} as {held}, not as zero")
        self.reads.append(Read(tensor, axis, atoms))
        self.touch(node, weight, weight_axis, atoms, CONSUMES)

    def pin(self, atoms: NDArray[np.int64], tensor: str, axis: int, node: NodeView | None, reason: str) -> None:
        """Keeps these atoms whole."""
        name = node.name if node is not None else "graph output"
        self.atoms.pin(atoms.ravel().tolist(), Pin(tensor, axis, name, reason))

    def block(self, node: NodeView | None, tensor: str, reason: str, axes: tuple[int, ...] | None = None) -> None:
        """Keeps every channel of a tensor whole, or those that run along any of `axes`."""
        for each in self.fields.get(tensor, ()):
            if axes is None or any(each.spans(axis) for axis in axes):
                self.pin(each.atoms, tensor, each.axes[0], node, reason)

    def merge(self, node: NodeView, left: Field, right: Field, tensor: str) -> None:
        """Makes two fields of one shape live and die together; `tensor` names where they meet."""
        if left.atoms.shape == right.atoms.shape:
            self.atoms.union(left.atoms, right.atoms)
            return
        reason = f"channels meet channels laid out otherwise in {node.op}"
        for each in (left, right):
            self.pin(each.atoms, tensor, each.axes[0], node, reason)
