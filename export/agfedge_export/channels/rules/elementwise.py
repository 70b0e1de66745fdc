"""Operators that work element by element: a channel stays where it is, operands share their channels.

So do Q/DQ pairs around weights and feature maps, which keep zero where it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agfedge_export.channels.labels import Field
from agfedge_export.channels.rules import rule
from agfedge_export.channels.tracer import CARRIES, PRODUCES
from agfedge_export.graph.shape_values import run_node

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from agfedge_export.channels.tracer import Tracer
    from agfedge_export.graph.view import NodeView

UNARY = (
    "Abs", "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "Cast", "Ceil", "Celu", "Cos", "Cosh", "Elu",
    "Erf", "Exp", "Floor", "Gelu", "HardSigmoid", "HardSwish", "Identity", "IsInf", "IsNaN", "LeakyRelu",
    "Log", "Mish", "Neg", "Not", "Reciprocal", "Relu", "Round", "Selu", "Shrink", "Sigmoid", "Sign", "Sin",
    "Sinh", "Softplus", "Softsign", "Sqrt", "Swish", "Tan", "Tanh", "ThresholdedRelu",
)  # fmt: skip
BROADCAST = (
    "Add", "Div", "Equal", "Greater", "Less", "Max", "Mean", "Min", "Mod", "Mul", "PRelu", "Pow", "Sub", "Sum", "Where",
)  # fmt: skip
_CACHE: dict[tuple[str, bytes, bytes], float] = {}
_ZERO_TO_ZERO = frozenset(
    ("Abs", "Asin", "Atan", "Cast", "Ceil", "Elu", "Erf", "Floor", "Gelu", "HardSwish", "Identity", "LeakyRelu", "Mish",
     "Neg", "Relu", "Round", "Selu", "Sign", "Sin", "Sinh", "Softsign", "Sqrt", "Swish", "Tan", "Tanh")
)  # fmt: skip
# Zeroing this operand's channel zeroes (or stops contributing to) the channel; other operands are only carried.
_ZEROED_OPERANDS = {"Add": (0, 1), "Div": (0,), "Mul": (0, 1), "Sub": (0, 1)}


@rule(*UNARY)
def unary(tracer: Tracer, node: NodeView) -> None:
    """A function of each element."""
    parameter = tracer.view.is_derived(node.inputs[0])
    for each in tracer.labels(node, 0):
        if parameter and node.op not in ("Cast", "Identity"):
            tracer.demote(each)
        tracer.lay(node.outputs[0], each.with_dead(_dead_after(node, tracer.view.opset, each.dead)))


def _dead_after(
    node: NodeView, opset: int, dead: NDArray[np.float64], *extra: NDArray[np.generic] | None
) -> NDArray[np.float64]:
    """Runs the node on the value of each dead channel; returns what it gives, shape of `dead`, NaN where unknown."""
    if node.op in _ZERO_TO_ZERO and not dead.any():
        return dead
    result = np.full(dead.shape, np.nan)
    for value in np.unique(dead[~np.isnan(dead)]):
        result[dead == value] = _evaluate(node, opset, float(value), extra)
    return result


def _evaluate(node: NodeView, opset: int, value: float, extra: tuple[NDArray[np.generic] | None, ...]) -> float:
    key = (
        node.op,
        b"".join(each.SerializeToString(deterministic=True) for each in node.proto.attribute),
        np.float64(value).tobytes() + b"".join(b"-" if each is None else each.tobytes() for each in extra),
    )
    if key not in _CACHE:
        with np.errstate(all="ignore"):
            answer = float(run_node(node.proto, [np.array([value], dtype=np.float32), *extra], opset).ravel()[0])
        _CACHE[key] = answer if np.isfinite(answer) else float("nan")
    return _CACHE[key]


@rule("CastLike")
def cast_like(tracer: Tracer, node: NodeView) -> None:
    """The first operand, in the type of the second."""
    for each in tracer.labels(node, 0):
        tracer.lay(node.outputs[0], each)


@rule("Clip", "Dropout")
def bounded(tracer: Tracer, node: NodeView) -> None:
    """A function of each element with constant scalar parameters; a Dropout that infers is the identity."""
    if node.op == "Dropout" and len(node.inputs) > 2:
        training = tracer.view.constant(node.input(2))
        if node.input(2) and (training is None or bool(training)):
            tracer.block(node, node.inputs[0], "Dropout is in training mode")
    if node.op == "Dropout":
        for each in tracer.fields(node.inputs[0]):
            tracer.lay(node.outputs[0], each)
        return
    bounds = [tracer.view.constant(name) if name else None for name in node.inputs[1:]]
    if any(name and bound is None for name, bound in zip(node.inputs[1:], bounds, strict=True)):
        tracer.block(node, node.inputs[0], "Clip has computed bounds")
        return
    for each in tracer.fields(node.inputs[0]):
        tracer.lay(node.outputs[0], each.with_dead(_dead_after(node, tracer.view.opset, each.dead, *bounds)))


@rule(*BROADCAST)
def broadcast(tracer: Tracer, node: NodeView) -> None:
    """Two or more operands of broadcast shapes: channels that meet on an axis live and die together."""
    if any(tracer.view.shape(name) is None for name in node.inputs):
        tracer.block_inputs(node, "an operand's shape is unknown")
        return
    rank = tracer.rank(node.outputs[0])
    constant = [tracer.view.is_derived(name) for name in node.inputs]
    if all(constant):
        _on_parameters(tracer, node, rank)
        return
    computed = [
        [] if fixed else [each.aligned(rank) for each in tracer.labels(node, position)]
        for position, fixed in enumerate(constant)
    ]
    for labels in _meet(tracer, node, computed, constant, rank):
        held = [
            _constant_dead(tracer, node, at, labels, rank) if constant[at] else _computed_dead(labels, fields)
            for at, fields in enumerate(computed)
        ]
        tracer.lay(node.outputs[0], labels.with_dead(_combine(node.op, held, labels)))


def _on_parameters(tracer: Tracer, node: NodeView, rank: int) -> None:
    """Arithmetic on parameters alone: labels that only follow, of values that nobody zeroes."""
    operands = [[each.aligned(rank) for each in tracer.labels(node, at)] for at in range(len(node.inputs))]
    for labels in (each for fields in operands for each in fields):
        tracer.demote(labels)
    for labels in tracer.merge_operands(node.outputs[0], operands):
        tracer.lay(node.outputs[0], labels.with_dead(np.nan))


def _meet(tracer: Tracer, node: NodeView, computed: list[list[Field]], constant: list[bool], rank: int) -> list[Field]:
    """Merges the operands' fields axis by axis; pins channels that meet a computed operand without channels."""
    merged = tracer.merge_operands(node.outputs[0], computed)
    for labels in merged:
        for name, fields, fixed in zip(node.inputs, computed, constant, strict=True):
            if fixed:
                continue
            shape = _padded_shape(tracer, name, rank)
            for axis in labels.axes:
                if shape[axis] > 1 and not any(each.spans(axis) for each in fields):
                    reason = f"{node.op} joins them with a tensor whose channels are fixed"
                    tracer.pin(tracer.coarse(labels, axis), name, axis, node, reason)
    return merged


def _padded_shape(tracer: Tracer, name: str, rank: int) -> tuple[int, ...]:
    shape = tracer.view.shapes[name]
    return (1,) * (rank - len(shape)) + shape


def _computed_dead(labels: Field, fields: list[Field]) -> NDArray[np.float64]:
    """Returns what a computed operand holds at a dead channel, shaped like the labels; NaN where that is unknown.

    A channel that meets a whole row of the labels lives on where only one of them is dead; one that meets a column does
    not, since all rows lose it then.
    """
    own = next((each for each in fields if each.axes in (labels.axes, (labels.column,))), None)
    return np.broadcast_to(np.float64(np.nan) if own is None else own.dead, labels.atoms.shape)


def _constant_dead(tracer: Tracer, node: NodeView, position: int, labels: Field, rank: int) -> NDArray[np.float64]:
    """Returns what a constant operand holds at a dead channel, and records it as a member where it runs along them."""
    name = node.inputs[position]
    unknown = np.full(labels.atoms.shape, np.nan)
    padded = _padded_shape(tracer, name, rank)
    along = [axis for axis in labels.axes if padded[axis] > 1]
    if not along:
        return _uniform(tracer, name, padded, labels)
    zeroed = node.op == "Sum" or position in _ZEROED_OPERANDS.get(node.op, ())
    produces = len(labels.axes) == 1 and zeroed
    if len(along) > 1:
        tracer.pin(labels.atoms, name, along[0], node, f"a constant of {node.op} runs along split channels")
        return unknown
    atoms = tracer.coarse(labels, along[0])
    tracer.touch(node, position, along[0] - (rank - tracer.rank(name)), atoms, PRODUCES if produces else CARRIES)
    return np.zeros(labels.atoms.shape) if produces else _uniform(tracer, name, padded, labels)


def _uniform(tracer: Tracer, name: str, padded: tuple[int, ...], labels: Field) -> NDArray[np.float64]:
    """Returns a constant's value at each channel where it does not vary across the other axes, else NaN."""
    value = tracer.view.constant(name)
    if value is None:
        return np.full(labels.atoms.shape, np.nan)
    value = value.reshape(padded).astype(np.float64)
    others = tuple(axis for axis in range(value.ndim) if axis not in labels.axes)
    low, high = value.min(axis=others, keepdims=True), value.max(axis=others, keepdims=True)
    return np.broadcast_to(np.where(low == high, low, np.nan), labels.atoms.shape)


def _combine(op: str, operands: list[NDArray[np.float64]], labels: Field) -> NDArray[np.float64]:
    """Applies the operator to the operands' dead values. Zero times anything finite is zero, known or not."""
    with np.errstate(all="ignore"):
        result = operands[0]
        if op == "Mul":
            zero = (operands[0] == 0) | (operands[1] == 0)
            result = np.where(zero, 0.0, operands[0] * operands[1])
        elif op == "Div":
            result = np.where((operands[0] == 0) & (operands[1] != 0), 0.0, operands[0] / operands[1])
            result = np.where(operands[1] == 0, np.nan, result)
        elif op == "PRelu":
            result = np.where(operands[0] >= 0, operands[0], operands[0] * operands[1])
            result = np.where(operands[0] == 0, 0.0, result)
        elif op in ("Add", "Sum"):
            result = np.sum(operands, axis=0)
        elif op == "Mean":
            result = np.mean(operands, axis=0)
        elif op == "Sub":
            result = operands[0] - operands[1]
        elif op == "Where":
            result = np.where(operands[1] == operands[2], operands[1], np.nan)
        elif op in ("Equal", "Greater", "Less", "Mod"):
            result = np.full(labels.atoms.shape, np.nan)
        elif op == "Pow":
            result = np.power(operands[0], operands[1])
        elif op in ("Max", "Min"):
            result = np.maximum.reduce(operands) if op == "Max" else np.minimum.reduce(operands)
        return np.broadcast_to(np.where(np.isfinite(result), result, np.nan), labels.atoms.shape)


@rule("QuantizeLinear", "DequantizeLinear")
def quantise(tracer: Tracer, node: NodeView) -> None:
    """Y = round(x / scale) + zero_point and back; scale and zero point are one number, or one an index of `axis`."""
    data = node.inputs[0]
    zero = tracer.view.constant(node.input(2)) if node.input(2) else np.zeros(())
    if zero is None or node.attributes.get("block_size", 0):
        tracer.block(node, data, f"{node.op} with a computed zero point, or by blocks")
        return
    axis = int(node.attributes.get("axis", 1)) % max(tracer.rank(data), 1)
    parameter = tracer.view.is_derived(data)
    for labels in tracer.labels(node, 0):
        if parameter and zero.any():
            tracer.pin(labels.atoms, data, labels.axes[0], node, "a zeroed weight is not zero: its zero point is not")
        _touch_scales(tracer, node, labels, axis)
        tracer.lay(node.outputs[0], labels.with_dead(_quantised(node.op, labels, zero)))


def _touch_scales(tracer: Tracer, node: NodeView, labels: Field, axis: int) -> None:
    for position in (1, 2):
        shape = tracer.view.shape(node.input(position)) if node.input(position) else None
        if shape and shape[0] > 1 and labels.spans(axis):
            tracer.touch(node, position, 0, tracer.coarse(labels, axis), CARRIES)


def _quantised(op: str, labels: Field, zero: NDArray[np.generic]) -> NDArray[np.float64]:
    """Zero becomes the zero point, and the zero point becomes zero again; anything else is not followed."""
    points = np.unique(zero.astype(np.float64))
    point = float(points[0]) if points.size == 1 else np.nan
    before, after = (0.0, point) if op == "QuantizeLinear" else (point, 0.0)
    return np.where(labels.dead == before, after, np.nan)
