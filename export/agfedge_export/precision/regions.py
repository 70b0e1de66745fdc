"""Which nodes of a graph may compute in a lower precision, and which stay float32.

Float32 stay: what lies in front of the first layer with weights (preprocessing, priors of the input, positions computed
from shapes), heads (what leads to scalars alone: confidence and priors), softmax and what scales its input, the
statistics of norms, and whatever is not understood.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from agfedge_export.graph.model_io import skeleton
from agfedge_export.graph.shape_values import element_types, infer
from agfedge_export.graph.view import GraphView, NodeView, view_of

if TYPE_CHECKING:
    import onnx

FLOAT, HALF = 1, 10  # onnx.TensorProto.FLOAT and FLOAT16
# Layers with weights: where nearly all of the work is, and what a lower precision is for.
WEIGHTED = frozenset(
    ("Attention", "Conv", "ConvTranspose", "DeformConv", "Einsum", "GRU", "Gemm", "LSTM", "MatMul", "RNN")
)
# Sums over many values and functions that leave a narrow range: float16 holds 65504 at most, and 11 bits.
WIDE = frozenset(
    ("CumSum", "Exp", "InstanceNormalization", "GroupNormalization", "LRN", "LayerNormalization", "Log", "LogSoftmax",
     "LpNormalization", "LpPool", "MeanVarianceNormalization", "Pow", "RMSNormalization", "Reciprocal", "Softmax",
     "Softplus", "Sqrt", "TopK")
)  # fmt: skip
# Statistics of a norm that is written out: x - mean(x), x / sqrt(variance + epsilon).
_STATISTICS = frozenset(("Exp", "Log", "Pow", "Reciprocal", "Sqrt"))
_ARITHMETIC = frozenset(("Add", "Div", "Mul", "Sub"))
_SHAPES = frozenset(("Shape", "Size"))


def _reduces(node: NodeView) -> bool:
    return node.op.startswith("Reduce")


@dataclass
class Regions:
    """The nodes of a graph by what they are for.

    Attributes:
        view: the graph.
        types: ONNX element types by tensor name, where they are known.
    """

    view: GraphView
    types: dict[str, int]

    @cached_property
    def kept(self) -> frozenset[int]:
        """Indices of the nodes that stay float32."""
        wide = {node.index for node in self.view.nodes if node.op in WIDE or _reduces(node) or node.domain}
        return frozenset(wide | self.front | self.heads | self._scales(wide) | self._norms())

    @cached_property
    def front(self) -> frozenset[int]:
        """Nodes that no layer with weights comes before, but for sizes that are read of its output."""
        behind: set[str] = set()
        front: set[int] = set()
        for node in self.view.nodes:
            after = any(name in behind for name in node.reads)
            if node.op in WEIGHTED or (after and node.op not in _SHAPES):
                behind.update(node.outputs)
            if not after and node.op not in WEIGHTED:
                front.add(node.index)
        return frozenset(front)

    @cached_property
    def heads(self) -> frozenset[int]:
        """Nodes whose every way to an output ends at one number an input."""
        scalars = {name for name in self.view.graph_outputs if len(self.view.shape(name) or (0, 0)) == 1}
        return self._leading_to(scalars)

    @cached_property
    def last(self) -> frozenset[int]:
        """Layers with weights that no other comes behind: they answer the logits."""
        reached: set[str] = set()
        last = set()
        for node in reversed(self.view.nodes):
            weighted = node.op in WEIGHTED
            ahead = any(name in reached for name in node.outputs)
            if weighted and not ahead:
                last.add(node.index)
            if weighted or ahead:
                reached.update(node.reads)
        return frozenset(last)

    def _leading_to(self, outputs: Collection[str]) -> frozenset[int]:
        """Returns the nodes that nothing but these outputs needs."""
        elsewhere = {name for name in self.view.graph_outputs if name not in outputs}
        if not elsewhere:  # a model that answers one number is no head
            return frozenset()
        leading = set()
        for node in reversed(self.view.nodes):
            if any(name in elsewhere for name in node.outputs):
                elsewhere.update(node.reads)
            else:
                leading.add(node.index)
        return frozenset(leading)

    def _scales(self, wide: Iterable[int]) -> set[int]:
        """Returns products and sums with a constant that only a softmax reads: temperatures and masks."""
        scales: set[int] = set()
        pending = [self.view.nodes[index] for index in wide if self.view.nodes[index].op in ("LogSoftmax", "Softmax")]
        while pending:
            node = pending.pop()
            maker = self.view.producer.get(node.input(0))
            if maker is None or maker.op not in _ARITHMETIC or maker.index in scales:
                continue
            if any(self.view.is_constant(name) for name in maker.inputs):
                scales.add(maker.index)
                pending.append(maker)
        return scales

    def _norms(self) -> set[int]:
        """Returns the arithmetic that reads what a reduction or a root gives."""
        norms: set[int] = set()
        for node in self.view.nodes:
            makers = [self.view.producer[name] for name in node.inputs if name in self.view.producer]
            # What is computed from shapes and constants is a scale, such as that of an attention's queries.
            makers = [each for each in makers if each.index not in self.front]
            # A reduction that keeps no axes is pooling, and what reads it a layer.
            if node.op in _ARITHMETIC and any(each.op in _STATISTICS or _centres(each) for each in makers):
                norms.add(node.index)
        return norms


def _centres(node: NodeView) -> bool:
    return _reduces(node) and bool(node.attributes.get("keepdims", 1))


def regions_of(model: onnx.ModelProto) -> Regions:
    """Returns the regions of a graph.

    Raises:
        ModelError: its shapes cannot be inferred.
    """
    types = element_types(infer(skeleton(model)))
    view = view_of(model)
    for node in view.nodes:
        _complete(types, node, view.opset)
    return Regions(view, types)


def _complete(types: dict[str, int], node: NodeView, opset: int) -> None:
    """Adds the types of outputs that inference left open: those of inputs that the operator's schema says are alike."""
    import onnx

    if node.domain or all(name in types for name in node.outputs if name):
        return
    schema = onnx.defs.get_schema(node.op, opset, "")
    by_variable = {
        schema.inputs[min(spot, len(schema.inputs) - 1)].type_str: types[name]
        for spot, name in enumerate(node.inputs)
        if name in types and schema.inputs
    }
    for spot, name in enumerate(node.outputs):
        kind = by_variable.get(schema.outputs[min(spot, len(schema.outputs) - 1)].type_str)
        if name and name not in types and kind is not None:
            types[name] = kind


def holds(value: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> bool:
    """Whether float16 holds every number: none overflows, and none but 0 becomes 0."""
    with np.errstate(over="ignore", under="ignore"):
        half = value.astype(np.float16)
    return bool(np.all(np.isfinite(half) == np.isfinite(value)) and np.all((half == 0) == (value == 0)))
