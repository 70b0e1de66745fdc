"""Einsum of two tensors: a product that sums over the letters which the output lacks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from agfedge_export.channels.labels import Field
from agfedge_export.channels.rules import rule
from agfedge_export.channels.tracer import CARRIES, PRODUCES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from agfedge_export.channels.tracer import Tracer
    from agfedge_export.graph.view import NodeView


@dataclass(frozen=True)
class Terms:
    """The letters of both operands and of the output, e.g. bhid, bhjd and bhij."""

    operands: tuple[str, str]
    output: str

    def summed(self) -> set[str]:
        """Returns the letters that are summed over."""
        return set("".join(self.operands)) - set(self.output)


def parse(equation: str) -> Terms | None:
    """Reads an equation of two operands without repeated letters or an ellipsis; None for any other."""
    left, arrow, output = equation.replace(" ", "").partition("->")
    operands = left.split(",")
    terms = [*operands, output]
    if not arrow or len(operands) != 2 or any(len(set(term)) < len(term) or "." in term for term in terms):
        return None
    return Terms((operands[0], operands[1]), output)


@rule("Einsum")
def einsum(tracer: Tracer, node: NodeView) -> None:
    """A weight and a feature map, or two feature maps (attention)."""
    terms = parse(node.attributes["equation"].decode())
    shapes = [tracer.view.shape(name) for name in node.inputs]
    weights = [at for at, name in enumerate(node.inputs) if tracer.view.is_derived(name)]
    if terms is None or None in shapes or len(weights) == 2:
        tracer.block_inputs(node, "Einsum of a form that is not understood")
    elif weights:
        _by_weight(tracer, node, terms, weights[0])
    else:
        _of_two(tracer, node, terms)


def _arranged(labels: Field, letters: str, wanted: str) -> Field:
    """Returns a field with its axes in another order; letters that it lacks become axes of size one."""
    order = [letters.index(letter) for letter in wanted if letter in letters]
    sizes = [labels.atoms.shape[letters.index(letter)] if letter in letters else 1 for letter in wanted]
    column = None if labels.column is None else letters[labels.column]
    rest = [axis for axis in range(len(letters)) if axis not in order]  # all of size one where the field may pass
    atoms = labels.atoms.transpose([*order, *rest]).reshape(sizes)
    dead = labels.dead.transpose([*order, *rest]).reshape(sizes)
    return Field(atoms, dead, wanted.index(column) if column is not None and column in wanted else None)


def _by_weight(tracer: Tracer, node: NodeView, terms: Terms, weight: int) -> None:
    """Letters of the weight alone are new channels, letters that vanish are summed over, the others are carried."""
    data = 1 - weight
    name, letters, kernel = node.inputs[data], terms.operands[data], terms.operands[weight]
    summed = [letter for letter in kernel if letter not in terms.output]
    lost = tuple(axis for axis, letter in enumerate(letters) if letter not in terms.output and letter not in kernel)
    tracer.block(node, name, "Einsum sums over them without a weight", axes=lost)
    for letter in summed:
        tracer.consume(node, name, letters.index(letter), weight=weight, weight_axis=kernel.index(letter))
    for each in tracer.fields(name):
        if not any(letters[axis] in summed for axis in each.axes):
            for axis in each.axes:
                if letters[axis] in kernel:
                    tracer.touch(node, weight, kernel.index(letters[axis]), tracer.coarse(each, axis), CARRIES)
            tracer.lay(node.outputs[0], _arranged(each, letters, terms.output).with_zero_kept())
    for letter in kernel:
        if letter in terms.output and letter not in letters:
            atoms = tracer.produce(node, terms.output.index(letter), weight)
            tracer.touch(node, weight, kernel.index(letter), atoms, PRODUCES)


def _of_two(tracer: Tracer, node: NodeView, terms: Terms) -> None:
    """What both operands lose is lost from the sum; letters that both keep (heads) go in step."""
    summed = terms.summed()
    sides = [list(tracer.fields(name)) for name in node.inputs]
    sums = [
        [each for each in fields if any(letters[axis] in summed for axis in each.axes)]
        for fields, letters in zip(sides, terms.operands, strict=True)
    ]
    _contract(tracer, node, terms, (sums[0], sums[1]))
    passing: list[Field] = []
    for fields, letters, gone in zip(sides, terms.operands, sums, strict=True):
        passing += [_arranged(each, letters, terms.output) for each in fields if not any(each is one for one in gone)]
    passing = [each for each in passing if not any(set(each.axes) < set(other.axes) for other in passing)]
    for each in passing:
        tracer.lay(node.outputs[0], each.with_zero_kept())
    for axis, letter in enumerate(terms.output):
        if all(letter in letters for letters in terms.operands):
            rows = _shared_rows(tracer, node, terms, letter, sides)
            if rows is not None and not any(each.spans(axis) for each in passing):
                tracer.lay(node.outputs[0], Field.along(axis, len(terms.output), rows, np.nan))


def _contract(tracer: Tracer, node: NodeView, terms: Terms, sums: tuple[list[Field], list[Field]]) -> None:
    """Ties what is summed over on both sides; both factors must be zero where they are gone."""
    left, right = sums
    common = "".join(letter for letter in terms.operands[0] if letter in terms.operands[1])
    inside = [
        all(letters[axis] in common for each in fields for axis in each.axes)
        for fields, letters in zip(sums, terms.operands, strict=True)
    ]
    if len(left) == len(right) == 1 and all(inside):
        ours, theirs = _arranged(left[0], terms.operands[0], common), _arranged(right[0], terms.operands[1], common)
        same = len(ours.axes) == len(left[0].axes) and len(theirs.axes) == len(right[0].axes)
        if same and ours.atoms.shape == theirs.atoms.shape:
            tracer.require_zero(node, node.inputs[0], left[0])
            tracer.require_zero(node, node.inputs[1], right[0])
            tracer.unite(ours.atoms, theirs.atoms)
            tracer.read(node.inputs[0], left[0])
            return
    for name, fields in zip(node.inputs, sums, strict=True):
        for each in fields:
            tracer.pin(each.atoms, name, each.axes[0], node, "Einsum sums over them with a tensor of another layout")


def _shared_rows(
    tracer: Tracer, node: NodeView, terms: Terms, letter: str, sides: list[list[Field]]
) -> NDArray[np.int64] | None:
    """Ties what both operands carry along a letter that they share and keep; returns it."""
    rows: list[NDArray[np.int64]] = []
    fixed = False
    for fields, letters in zip(sides, terms.operands, strict=True):
        own = [tracer.coarse(each, letters.index(letter)) for each in fields if each.spans(letters.index(letter))]
        rows.extend(own)
        fixed = fixed or not own
    for row in rows:
        tracer.unite(rows[0], row)
        if fixed:
            tracer.pin(row, node.inputs[0], 0, node, "Einsum runs over them with a tensor of fixed size")
    return rows[0] if rows else None
