"""Sizes that an exported program has as constants, replaced by those that surgery left: a rule for each operator.

The pruned graph says of each tensor its shape for any batch, its value where it is constant, and its node.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import sqrt
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnx
    import torch
    from numpy.typing import NDArray
    from torch.fx.node import Argument

    # A size as (fixed, per sample): fixed + per sample * batch.
    Size = tuple[int, int]
    Rule = Callable[["Sizes", torch.fx.Node, str], None]

# Where a node keeps the name of its tensor in the ONNX graph.
TENSOR = "agfedge_tensor"

_RESHAPES = ("view", "_unsafe_view", "reshape", "unflatten")
_MADE = ("full", "zeros", "ones", "empty", "rand", "randn", "new_zeros", "new_ones", "new_full", "new_empty")
_CONVOLUTIONS = (
    "conv1d",
    "conv2d",
    "conv3d",
    "convolution",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
)
_BATCHES = (2, 3)
# Of symbolic dimensions other than the batch.
_SPATIAL = 32
# Nodes between a group norm's result and the InstanceNormalization inside it, at most.
_NEAR = 64


@dataclass(frozen=True)
class PrunedGraph:
    """The pruned graph, by tensor name.

    Attributes:
        nodes: the node that makes a tensor.
        shapes: of every tensor whose shape is known.
        values: initializers, and what the graph computes from constants, whatever the batch.
        stored: names of the initializers and constants.
        output: the name of the logits.
    """

    nodes: dict[str, onnx.NodeProto]
    shapes: dict[str, tuple[Size, ...]]
    values: dict[str, NDArray[np.generic]]
    stored: frozenset[str]
    output: str

    def constant_input(self, name: str, position: int) -> NDArray[np.generic] | None:
        """Returns a constant input of the node that makes a tensor; None where there is none."""
        node = self.nodes.get(name)
        if node is None or position >= len(node.input):
            return None
        return self.values.get(node.input[position])

    def attribute(self, name: str, operator: str, attribute: str) -> int | None:
        """Returns an integer attribute of the node that makes a tensor, where that is of the given operator."""
        node = self.nodes.get(name)
        if node is None or node.op_type != operator:
            return None
        return next((int(each.i) for each in node.attribute if each.name == attribute), None)

    def groups_of_norm(self, name: str) -> int | None:
        """Returns the number of groups of a group norm: the channels of the instance norm which it is made of."""
        pending = [name]
        for _ in range(_NEAR):
            node = self.nodes.get(pending.pop(0)) if pending else None
            if node is None:
                continue
            if node.op_type == "InstanceNormalization":
                return len(self.values[node.input[1]]) if node.input[1] in self.values else None
            if node.op_type == "GroupNormalization":
                return self.attribute(node.output[0], "GroupNormalization", "num_groups")
            pending.extend(node.input)
        return None


def read_pruned(pruned: onnx.ModelProto) -> PrunedGraph:
    """Resolves the shapes of the pruned graph at two batch sizes, and takes down what both have in common.

    Raises:
        ModelError: shape inference fails.
    """
    import onnx

    from agfedge_export.graph.shape_values import concrete_shapes

    resolved = []
    for batch in _BATCHES:
        model = onnx.ModelProto()
        model.CopyFrom(pruned)
        resolved.append(concrete_shapes(model, batch, _SPATIAL))
    first, second = resolved
    values = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in pruned.graph.initializer}
    stored = frozenset(values) | {node.output[0] for node in pruned.graph.node if node.op_type == "Constant"}
    computed = {
        name: value
        for name, value in first.values.items()
        if name in second.values and np.array_equal(value, second.values[name])
    }
    shapes = {
        name: tuple(_size(*pair) for pair in zip(shape, second.shapes[name], strict=True))
        for name, shape in first.shapes.items()
        if len(second.shapes.get(name, ())) == len(shape)
    }
    nodes = {name: node for node in pruned.graph.node for name in node.output}
    return PrunedGraph(nodes, shapes, computed | values, stored, pruned.graph.output[0].name)


def _size(first: int, second: int) -> Size:
    """Returns a size as a line through two batch sizes."""
    slope = (second - first) // (_BATCHES[1] - _BATCHES[0])
    return first - slope * _BATCHES[0], slope


@dataclass(frozen=True)
class Sizes:
    """A program that is being resized.

    Attributes:
        graph: the program.
        facts: the pruned graph.
    """

    graph: torch.fx.Graph
    facts: PrunedGraph
    _made: dict[Size, torch.fx.Node] = field(default_factory=dict)

    def size(self, size: Size) -> torch.fx.Node | int:
        """Returns a size, as a node where it follows the batch."""
        import operator

        import torch

        fixed, slope = size
        if slope == 0:
            return fixed
        if size not in self._made:
            if size == (0, 1):
                (data,) = (node for node in self.graph.nodes if node.op == "placeholder")
                with self.graph.inserting_after(data):
                    self._made[size] = self.graph.call_function(torch.ops.aten.sym_size.int, (data, 0))
            else:
                before, step = ((0, 1), operator.mul) if fixed == 0 else ((0, slope), operator.add)
                base = self.size(before)
                if not isinstance(base, torch.fx.Node):
                    raise TypeError(f"{before} follows the batch")
                with self.graph.inserting_after(base):
                    self._made[size] = self.graph.call_function(step, (base, fixed or slope))
        return self._made[size]


def resize_node(sizes: Sizes, node: torch.fx.Node) -> None:
    """Gives a node the sizes of the pruned graph's tensor of its name."""
    operator = operator_of(node)
    if operator in _RULES and TENSOR in node.meta:
        _RULES[operator](sizes, node, node.meta[TENSOR])


def operator_of(node: torch.fx.Node) -> str:
    """Returns the name of the operator that a node calls, without its overload."""
    return getattr(node.target, "__name__", "").partition(".")[0] if node.op == "call_function" else ""


def _reshape(sizes: Sizes, node: torch.fx.Node, name: str) -> None:
    """`reshape` in place of `view`: what it reads may be laid out otherwise now (channels last)."""
    import torch

    shape = sizes.facts.shapes.get(name)
    data = _input(node)
    if shape is None and str(_shape(data)) == str(_shape(node)):  # changes nothing: the export left it out
        node.replace_all_uses_with(data)
        return
    given = node.args[-1] if shape is None else [sizes.size(each) for each in shape]
    if shape is not None and sum(slope != 0 for _, slope in shape) == 1:
        given = [-1 if slope else fixed for fixed, slope in shape]
    node.target, node.args = torch.ops.aten.reshape.default, (data, given)


def _expand(sizes: Sizes, node: torch.fx.Node, name: str) -> None:
    shape = sizes.facts.shapes.get(name)
    before = _list(node.args[1])
    if shape is not None and len(shape) == len(before):
        after = [old if old == -1 else sizes.size(new) for old, new in zip(before, shape, strict=True)]
        node.args = (node.args[0], after, *node.args[2:])


def _make(sizes: Sizes, node: torch.fx.Node, name: str) -> None:
    shape = sizes.facts.shapes.get(name)
    if shape is not None:
        _set(node, "size", [sizes.size(each) for each in shape])


def _pad(sizes: Sizes, node: torch.fx.Node, name: str) -> None:
    """ONNX: the starts of all axes, then the ends; torch: (start, end) of the last axis, then of the one before, ..."""
    pads = sizes.facts.constant_input(name, 1)
    producer = sizes.facts.nodes.get(name)
    before = _list(node.args[1])
    if producer is None or producer.op_type != "Pad" or pads is None or 2 * len(_shape(node)) != len(pads):
        return
    rank = len(pads) // 2
    after = [int(pads[axis + side * rank]) for axis in reversed(range(rank)) for side in (0, 1)]
    node.args = (node.args[0], after[: len(before)], *node.args[2:])


def _slice(sizes: Sizes, node: torch.fx.Node, name: str) -> None:
    producer = sizes.facts.nodes.get(name)
    if producer is None or producer.op_type != "Slice" or len(node.args) < 4:
        return
    bounds = [sizes.facts.constant_input(name, position) for position in (1, 2)]
    after = [
        old if new is None or len(new) != 1 or not isinstance(old, int) else int(new[0])
        for old, new in zip(node.args[2:4], bounds, strict=True)
    ]
    node.args = (*node.args[:2], *after, *node.args[4:])


def _select(sizes: Sizes, node: torch.fx.Node, name: str) -> None:
    producer, index = sizes.facts.nodes.get(name), sizes.facts.constant_input(name, 1)
    if producer is not None and producer.op_type == "Gather" and index is not None and np.ndim(index) == 0:
        node.args = (*node.args[:2], int(index))


def _split(sizes: Sizes, node: torch.fx.Node, _: str) -> None:
    """`split_with_sizes` in place of `split`: the parts may differ now."""
    import torch

    axis = int(str(node.args[2] if len(node.args) > 2 else node.kwargs.get("dim", 0)))
    parts: list[int | None] = [None] * len(node.meta["val"])
    for user in node.users:
        shape = sizes.facts.shapes.get(user.meta[TENSOR])
        if shape is not None:
            parts[int(str(user.args[1]))] = shape[axis][0]
    whole = sizes.facts.shapes.get(_input(node).meta.get(TENSOR, ""))
    if parts.count(None) == 1 and whole is not None:
        parts[parts.index(None)] = whole[axis][0] - sum(each for each in parts if each is not None)
    if None not in parts:
        node.target, node.args, node.kwargs = torch.ops.aten.split_with_sizes.default, (node.args[0], parts, axis), {}


def _convolution(sizes: Sizes, node: torch.fx.Node, name: str) -> None:
    for operator in ("Conv", "ConvTranspose"):
        groups = sizes.facts.attribute(name, operator, "group")
        if groups is not None:
            _set(node, "groups", groups)


def _group_norm(sizes: Sizes, node: torch.fx.Node, name: str) -> None:
    groups = sizes.facts.groups_of_norm(name)
    if groups is not None:
        _set(node, "num_groups", groups)


def _layer_norm(sizes: Sizes, node: torch.fx.Node, name: str) -> None:
    shape, before = sizes.facts.shapes.get(name), _list(node.args[1])
    if shape is not None:
        after = [old if slope else fixed for old, (fixed, slope) in zip(before, shape[-len(before) :], strict=True)]
        _set(node, "normalized_shape", after)


def _attention(_: Sizes, node: torch.fx.Node, name: str) -> None:  # noqa: ARG001
    """The dense width of a head stays in the scale, as it does in the graph."""
    if node.kwargs.get("scale") is None:
        node.kwargs = {**node.kwargs, "scale": 1 / sqrt(int(_shape(_input(node))[-1]))}


def _input(node: torch.fx.Node) -> torch.fx.Node:
    return node.all_input_nodes[0]


def _list(argument: object) -> list[int | torch.fx.Node]:
    if not isinstance(argument, Sequence):
        raise TypeError(f"expected a list of sizes, got {argument!r}")
    return list(argument)


def _shape(node: torch.fx.Node) -> tuple[int, ...]:
    """Returns a node's shape in the dense program; a size that follows the batch is a symbol of torch's own."""
    return tuple(node.meta["val"].shape) if "val" in node.meta else ()


def _set(node: torch.fx.Node, argument: str, value: Argument) -> None:
    """Sets an argument of an operator by name, wherever it stands."""
    import torch

    if not isinstance(node.target, torch._ops.OpOverload):
        return
    names = [each.name for each in node.target._schema.arguments]
    if argument not in names:
        return
    place = names.index(argument)
    if place < len(node.args):
        node.args = (*node.args[:place], value, *node.args[place + 1 :])
    else:
        node.kwargs = {**node.kwargs, argument: value}


_RULES: dict[str, Rule] = {
    **dict.fromkeys(_RESHAPES, _reshape),
    **dict.fromkeys(_MADE, _make),
    **dict.fromkeys(_CONVOLUTIONS, _convolution),
    "constant_pad_nd": _pad,
    "expand": _expand,
    "group_norm": _group_norm,
    "layer_norm": _layer_norm,
    "pad": _pad,
    "scaled_dot_product_attention": _attention,
    "select": _select,
    "slice": _slice,
    "split": _split,
    "split_with_sizes": _split,
}
