"""The state of one analysis: what is known of every tensor's channels, and the calls that rules make to add to it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from agfedge_export.channels.labels import Atoms, Field, Pin, spanning

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from agfedge_export.graph.view import GraphView, NodeView

PRODUCES, CARRIES, CONSUMES = "produces", "carries", "consumes"


@dataclass(frozen=True)
class ParameterAxis:
    """One axis of one parameter, as one node reads it.

    Attributes:
        tensor: the parameter's name in the original graph.
        node: index of the reading node in the original node list.
        input: position among that node's inputs.
        axis: the axis that channels run along.
        role: "produces" (zeroing an entry zeroes its channel), "carries" or "consumes".
    """

    tensor: str
    node: int
    input: int
    axis: int
    role: str

    @property
    def place(self) -> tuple[int, int, int]:
        """The reading node, the input and the axis, which tell it from all others."""
        return self.node, self.input, self.axis


@dataclass(frozen=True)
class Touch(ParameterAxis):
    """The axis of a parameter with the channel of every index: `atoms`, int64 (size of the axis,)."""

    atoms: NDArray[np.int64]


@dataclass(frozen=True)
class Read:
    """A feature map as a linear node reads it: after normalisation and activation, where AGF scores its channels.

    Attributes:
        tensor: name of the feature map in the original graph.
        axes: the axes that its channels run along: one, or (heads, dimensions).
        atoms: int64, the sizes of those axes.
    """

    tensor: str
    axes: tuple[int, ...]
    atoms: NDArray[np.int64]


@dataclass
class Tracer:
    """What the rules know and record while they walk the graph from inputs to outputs.

    Attributes:
        inexact: whether norms across channels may be crossed.
        fresh: the atoms that a node made, by what they are for.
        pinned: the atoms that were kept whole, by node, tensor, axis and reason.
        node: index of the node whose rule runs; None after the last.
        met: the pairs of atoms that were made to live and die together, by node.
    """

    view: GraphView
    inexact: bool = False
    atoms: Atoms = field(default_factory=Atoms)
    touches: list[Touch] = field(default_factory=list)
    reads: list[Read] = field(default_factory=list)
    joints: list[Field] = field(default_factory=list)
    fresh: dict[tuple[int, str], NDArray[np.int64]] = field(default_factory=dict)
    pinned: dict[tuple[int | None, str, int, str], NDArray[np.int64]] = field(default_factory=dict)
    node: int | None = None
    met: dict[int | None, list[tuple[NDArray[np.int64], NDArray[np.int64]]]] = field(default_factory=dict)
    _fields: dict[str, list[Field]] = field(default_factory=dict)
    _coarse: dict[tuple[bytes, int], NDArray[np.int64]] = field(default_factory=dict)
    _passive: dict[int, int] = field(default_factory=dict)
    _constants: dict[tuple[int, int], tuple[Field, ...]] = field(default_factory=dict)

    # -- reading ----------------------------------------------------------------------------------------------

    def rank(self, tensor: str) -> int:
        """Returns the number of axes of a tensor whose shape is known."""
        return len(self.view.shapes[tensor])

    def fields(self, tensor: str) -> tuple[Field, ...]:
        """Returns the fields of a computed tensor."""
        return tuple(self._fields.get(tensor, ()))

    def labels(self, node: NodeView, position: int) -> tuple[Field, ...]:
        """Returns the fields of a node's input. The axes of a constant get passive channels of their own."""
        name = node.input(position)
        if name in self._fields or not self.view.is_constant(name):
            return self.fields(name)
        if (node.index, position) not in self._constants:
            self._constants[node.index, position] = self._passive_fields(node, position, name)
        return self._constants[node.index, position]

    def labelled(self, node: NodeView, position: int) -> tuple[Field, ...]:
        """Returns the fields that `labels` gave for a node's input, and makes none."""
        return self.fields(node.input(position)) or self._constants.get((node.index, position), ())

    def _passive_fields(self, node: NodeView, position: int, name: str) -> tuple[Field, ...]:
        shape = self.view.constant_shape(name) or ()
        fields = []
        for axis, size in enumerate(shape):
            if size > 1:
                atoms = self.new_atoms(node, f"passive {position} {axis}", size, name, passive=True)
                fields.append(Field.along(axis, len(shape), atoms))
                self._passive[int(atoms[0])] = len(self.touches)
                self.touches.append(Touch(self.view.root(name), node.index, position, axis, PRODUCES, atoms))
        return tuple(fields)

    def field(self, tensor: str, axis: int) -> Field | None:
        """Returns the field along one axis, or None. Channels that span other axes too are tied along those."""
        labels = spanning(self.fields(tensor), axis)
        return labels if labels is None or labels.axes == (axis,) else self.tie(tensor, labels, (axis,))

    # -- atoms ------------------------------------------------------------------------------------------------

    def new_atoms(
        self, node: NodeView, what: str, count: int, name: str, *, passive: bool = False
    ) -> NDArray[np.int64]:
        """Makes fresh atoms; `node` and `what` identify them when the graph is traced again after surgery."""
        atoms = self.atoms.new(count, name, passive=passive)
        self.fresh[node.index, what] = atoms
        return atoms

    def unite(self, left: NDArray[np.int64], right: NDArray[np.int64]) -> None:
        """Makes two equally long arrays of atoms live and die together, element by element."""
        self.met.setdefault(self.node, []).append((left, right))
        self.atoms.union(left, right)

    def unite_all(self, rows: Sequence[NDArray[np.int64]] | NDArray[np.int64]) -> NDArray[np.int64]:
        """Makes equally long rows of atoms live and die together, entry by entry; returns the first row."""
        for row in rows[1:]:
            self.unite(rows[0], row)
        first: NDArray[np.int64] = rows[0]
        return first

    def coarse(self, labels: Field, axis: int) -> NDArray[np.int64]:
        """Returns an atom for each index along one axis: the label itself, or composites of the rows.

        What meets the columns meets those of every row: all rows then lose the same ones.
        """
        if labels.axes == (axis,):
            return labels.atoms.ravel()
        if axis == labels.columns:
            return self.unite_all(labels.rows(axis).T)
        key = (labels.atoms.tobytes() + str(labels.atoms.shape).encode(), axis)
        if key not in self._coarse:
            self._coarse[key] = self.atoms.composite(labels.rows(axis), "rows")
        return self._coarse[key]

    # -- recording --------------------------------------------------------------------------------------------

    def lay(self, tensor: str, labels: Field) -> None:
        """Adds a field to a tensor. One channel alone leaves no axis to shrink: it stays."""
        if not labels.axes:
            if labels.atoms.size:
                node = self.view.producer.get(tensor)
                self.pin(labels.atoms, tensor, 0, node, f"{tensor} takes this channel alone")
            return
        if len(labels.axes) == 1:
            labels = replace(labels, column=None)
        else:
            if labels.column is None or not labels.spans(labels.column):
                labels = replace(labels, column=labels.axes[-1])
            self.joint(labels)
        self._fields.setdefault(tensor, []).append(labels)

    def joint(self, labels: Field, *, rows_fixed: bool = False) -> None:
        """Records channels that are spread over several axes: rows that stay keep equally many columns.

        Args:
            labels: with its column axis.
            rows_fixed: whether no row may go as a whole.
        """
        self.joints.append(labels)
        if rows_fixed:
            for axis in labels.axes:
                if axis != labels.column:
                    self.pin(self.coarse(labels, axis), "", axis, None, "every group of a convolution keeps a channel")

    def tie(self, tensor: str, labels: Field, axes: tuple[int, ...]) -> Field:
        """Makes channels that differ only along axes other than `axes` live and die together; returns what is left."""
        atoms, dead = labels.atoms, labels.dead
        for axis in labels.axes:
            if axis not in axes:
                first = atoms.take([0], axis=axis)
                self.unite(np.broadcast_to(first, atoms.shape), atoms)
                same = (dead == dead.take([0], axis=axis)).all(axis=axis, keepdims=True)
                atoms, dead = first, np.where(same, dead.take([0], axis=axis), np.nan)
        column = labels.column if labels.column in axes and len(axes) > 1 else None
        tied = Field(atoms, dead, column)
        self._fields[tensor] = [tied if each is labels else each for each in self._fields.get(tensor, [])]
        return tied

    def produce(self, node: NodeView, axis: int, weight: int) -> NDArray[np.int64]:
        """Gives one axis of a node's output fresh atoms, which its input `weight` makes; returns them."""
        tensor = node.outputs[0]
        count = self.view.shapes[tensor][axis]
        atoms = self.new_atoms(node, f"{tensor} {axis}", count, self.view.root(node.inputs[weight]))
        if count > 1:
            self.lay(tensor, Field.along(axis, self.rank(tensor), atoms))
        else:
            self.pin(atoms, tensor, axis, node, "the axis has a single channel")
        return atoms

    def touch(self, node: NodeView, position: int, axis: int, atoms: NDArray[np.int64], role: str) -> None:
        """Records that an axis of a constant input runs along these atoms; pins them when it is not a constant.

        A constant that was moved before it is read (a transposed weight) was labelled there: its labels join these.
        """
        name = node.input(position)
        if self.view.is_constant(name):
            self.touches.append(Touch(self.view.root(name), node.index, position, axis, role, atoms))
            return
        labels = self.field(name, axis) if self.view.is_derived(name) else None
        if labels is None or labels.atoms.size != len(atoms):
            self.pin(atoms, name, axis, node, f"input {position} of {node.op} is computed, not a constant")
            self.block(node, name, f"{node.op} takes it as input {position}")
            return
        if role == PRODUCES and (labels.dead != 0).any():
            self.pin(atoms, name, axis, node, f"input {position} of {node.op} is not zero where its parameter is")
        self.unite(labels.atoms.ravel(), atoms)
        index = self._passive.get(int(labels.atoms.min()))
        if index is not None:
            self.touches[index] = replace(self.touches[index], role=role)

    def demote(self, labels: Field) -> None:
        """Says that zeroing the constants behind these labels would not zero a channel: they are only carried."""
        for atom in labels.atoms.ravel().tolist():
            if atom in self._passive:
                index = self._passive[atom]
                self.touches[index] = replace(self.touches[index], role=CARRIES)

    def consume(self, node: NodeView, tensor: str, axis: int, weight: int, weight_axis: int) -> None:
        """Records that a linear node sums over an axis of `tensor`, by an axis of its constant input `weight`.

        Removal is exact only where a dead channel holds zero: others are pinned.
        """
        labels = self.field(tensor, axis)
        if labels is None:
            fixed = self.new_atoms(node, f"fixed {tensor}", self.view.shapes[tensor][axis], tensor)
            self.pin(fixed, tensor, axis, node, f"{tensor} has no channels that can be removed")
            self.touch(node, weight, weight_axis, fixed, CONSUMES)
            return
        atoms = labels.atoms.ravel()
        self.require_zero(node, tensor, labels)
        self.read(tensor, labels)
        self.touch(node, weight, weight_axis, atoms, CONSUMES)

    def read(self, tensor: str, labels: Field) -> None:
        """Records where channels can be scored, by labels that may have more axes in front than the tensor."""
        extra = labels.atoms.ndim - self.rank(tensor)
        self.reads.append(Read(tensor, tuple(axis - extra for axis in labels.axes), labels.atoms.squeeze()))

    def require_zero(self, node: NodeView, tensor: str, labels: Field) -> None:
        """Pins the channels that hold anything but zero once they are dead."""
        alive = labels.dead != 0  # NaN compares unequal
        if alive.any():
            value = labels.dead[alive][0]
            held = "a value that depends on the input" if np.isnan(value) else f"{value:.4g}"
            reason = f"a zeroed channel reaches {node.op} as {held}, not as zero"
            self.pin(labels.atoms[alive], tensor, labels.axes[0], node, reason)

    def pin(self, atoms: NDArray[np.int64], tensor: str, axis: int, node: NodeView | None, reason: str) -> None:
        """Keeps these atoms whole."""
        self.pinned.setdefault((self.node, tensor, axis, reason), atoms.ravel())
        name = node.name if node is not None else "graph output"
        self.atoms.pin(atoms.ravel().tolist(), Pin(tensor, axis, name, reason))

    def block(self, node: NodeView | None, tensor: str, reason: str, axes: tuple[int, ...] | None = None) -> None:
        """Keeps every channel of a tensor whole, or those that run along any of `axes`.

        Channels that span one of `axes` and another axis are tied along the blocked one, and may go as whole rows.
        """
        for each in self.fields(tensor):
            blocked = each.axes if axes is None else tuple(axis for axis in each.axes if axis in axes)
            if not blocked:
                continue
            rest = tuple(axis for axis in each.axes if axis not in blocked)
            if rest:
                self.tie(tensor, each, rest)
            else:
                self.pin(each.atoms, tensor, each.axes[0], node, reason)

    def block_inputs(self, node: NodeView, reason: str) -> None:
        """Keeps every channel whole that a node reads."""
        for name in node.inputs:
            self.block(node, name, reason)

    def block_beside(self, node: NodeView, tensor: str, axis: int) -> None:
        """Keeps every channel of a tensor whole that runs along another axis than `axis`: the node runs over those."""
        others = tuple(other for other in range(self.rank(tensor)) if other != axis)
        self.block(node, tensor, f"{node.op} runs over this axis", axes=others)

    def merge_operands(self, tensor: str, operands: Iterable[Iterable[Field]]) -> list[Field]:
        """Makes channels of several operands that meet on an axis live and die together.

        Args:
            tensor: where they meet.
            operands: each operand's fields, of one rank; fields of one operand do not meet each other.

        Returns:
            The fields of the result.
        """
        merged: list[Field] = []
        for fields in operands:
            before = len(merged)
            for each in fields:
                met = [index for index in range(before) if set(merged[index].axes) & set(each.axes)]
                for index in [index for index in met if merged[index].axes == each.axes] or met:
                    merged[index] = self.merge(tensor, merged[index], each)
                if not met:
                    merged.append(each)
        return merged

    def merge(self, tensor: str, left: Field, right: Field) -> Field:
        """Makes two fields that meet on an axis live and die together; returns the field of the result."""
        if left.atoms.shape == right.atoms.shape:
            self.unite(left.atoms, right.atoms)
            return left
        small, large = sorted((left, right), key=lambda each: len(each.axes))
        common = tuple(axis for axis in small.axes if axis in large.axes)
        if len(common) == 1:  # rows of the larger one meet the channels of the smaller one
            self.unite(self.coarse(small, common[0]), self.coarse(large, common[0]))
            return large
        small, large = self.tie(tensor, small, common), self.tie(tensor, large, common)
        self.unite(small.atoms, large.atoms)
        return large
