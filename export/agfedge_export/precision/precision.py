"""Precision written into a graph's types: float16, and explicit int8.

TensorRT takes the precision of an engine from the graph's types alone from version 11 on, as TensorRT-RTX does; earlier
versions take it from there too, and graphs run in ONNX Runtime with the same numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agfedge_export.errors import ModelError
from agfedge_export.graph.model_io import load_model, skeleton
from agfedge_export.graph.shape_values import infer
from agfedge_export.precision.batch_norms import without_batch_norms
from agfedge_export.precision.half import Clamped, halve, largest_values
from agfedge_export.precision.quantise import OLDEST_OPSET, quantise, quantised_nodes
from agfedge_export.precision.regions import regions_of

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

    from agfedge_export.graph.model_io import ModelSource

FP32, FP16, INT8 = "fp32", "fp16", "int8"
PRECISIONS = (FP32, FP16, INT8)


@dataclass(frozen=True)
class Converted:
    """A graph in another precision.

    Attributes:
        model: it.
        lower: names of the layers that compute in the lower precision.
        clamped: constants of which float16 does not hold every number.
        overflowing: names of nodes that stay float32 because their values come near the end of float16.
    """

    model: onnx.ModelProto
    lower: tuple[str, ...]
    clamped: tuple[Clamped, ...] = ()
    overflowing: tuple[str, ...] = ()


def to_fp16(source: ModelSource, inputs: Mapping[str, NDArray[Any]] | None = None) -> Converted:
    """Writes float16 into a graph's types wherever that is safe.

    Inputs and outputs stay as they are. Float32 stay preprocessing, the heads that answer one number an input, softmax,
    the statistics of norms, and operators that know no float16 (see `regions`). Batch norms are folded first.

    Args:
        source: not changed.
        inputs: real inputs by name, (N, ...): nodes whose values come near the end of float16 on them stay float32 too.

    Raises:
        ModelError: the graph cannot be read or run, or its shapes cannot be inferred.
    """
    model = without_batch_norms(load_model(source))
    regions = regions_of(model)
    made, work = halve(regions, largest_values(regions, inputs) if inputs else None)
    lower = tuple(node.name for node in work.view.nodes if node.index in work.spots)
    overflowing = tuple(node.name for node in work.view.nodes if work.overflows(node))
    return Converted(_checked(made, FP16), lower, tuple(work.clamped), overflowing)


def to_int8(source: ModelSource, inputs: Mapping[str, NDArray[Any]]) -> Converted:
    """Writes explicit Q/DQ pairs into a graph: symmetric int8, a scale a tensor for activations, a channel for weights.

    Args:
        source: not changed.
        inputs: real inputs by name, (N, ...), from which the ranges of activations are taken.

    Raises:
        ModelError: the graph cannot be read or quantized, its opset is below 13, or inputs are missing.
    """
    model = without_batch_norms(load_model(source))
    _name_nodes(model)
    regions = regions_of(model)
    if regions.view.opset < OLDEST_OPSET:
        raise ModelError(
            f"int8 needs opset {OLDEST_OPSET} or newer, the graph has {regions.view.opset}: convert it with "
            "onnx.version_converter"
        )
    missing = [name for name in regions.view.graph_inputs if name not in inputs or not len(inputs[name])]
    if missing:
        raise ModelError(f"int8 is calibrated on real inputs: got none for {missing[0]}")
    made = quantise(regions, {name: inputs[name] for name in regions.view.graph_inputs})
    return Converted(_checked(made, INT8), tuple(node.name for node in quantised_nodes(regions)))


def _name_nodes(model: onnx.ModelProto) -> None:
    """Gives every node a name of its own, by which the quantizer is told what to take."""
    taken: set[str] = set()
    for index, node in enumerate(model.graph.node):
        if not node.name or node.name in taken:
            node.name = f"{node.name or node.op_type}_{index}"
        taken.add(node.name)


def _checked(model: onnx.ModelProto, precision: str) -> onnx.ModelProto:
    import onnx

    try:
        onnx.checker.check_model(skeleton(model))
        infer(skeleton(model))
    except Exception as error:  # the native libraries raise their own types
        raise ModelError(f"the {precision} graph is not valid: {' '.join(str(error).split())[:300]}") from error
    return model
