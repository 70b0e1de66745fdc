"""Int8 in a graph's types: explicit Q/DQ pairs, symmetric, with a scale a channel for weights.

Scales come from ONNX Runtime's static quantizer. Only inputs of layers and of residual sums are quantized, as TensorRT
fuses them: what a layer answers stays float until the next one reads it.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agfedge_export.errors import ModelError
from agfedge_export.graph.model_io import copied
from agfedge_export.precision.regions import FLOAT, Regions

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

    from agfedge_export.graph.view import NodeView

    Feed = Mapping[str, NDArray[Any]]

# Scales a channel need it (DequantizeLinear's axis).
OLDEST_OPSET = 13
_LAYERS = frozenset(("Conv", "Gemm", "MatMul"))
# Inputs to a batch while ranges are collected.
_BATCH = 32


def quantised_nodes(regions: Regions) -> list[NodeView]:
    """Returns the layers to quantize, and the residual sums between them.

    Heads stay float, and so does the last layer: it is cheap, and the confidence hangs on it. A convolution at the end
    of a graph is no such layer: it is a trunk's.
    """
    chosen = []
    for node in regions.view.nodes:
        ends = node.index in regions.last and node.op != "Conv"
        if node.domain or node.index in regions.heads or ends:
            continue
        # A product of two activations, as in attention, loses more than it saves.
        weighted = node.op in _LAYERS and regions.view.is_derived(node.inputs[1])
        layer = weighted and not regions.view.is_derived(node.inputs[0])
        if layer or (node.op == "Add" and _is_residual(regions, node)):
            chosen.append(node)
    return chosen


def _is_residual(regions: Regions, node: NodeView) -> bool:
    """Whether a sum joins two float branches of one shape."""
    view = regions.view
    if node.index in regions.kept or any(
        view.is_derived(name) or regions.types.get(name) != FLOAT for name in node.inputs
    ):
        return False
    left, right = (view.shape(name) for name in node.inputs)
    return left is not None and left == right and len(left) > 1


class CalibrationBatches:
    """Feeds the quantizer: real inputs in small batches."""

    def __init__(self, inputs: Feed) -> None:
        self._batches = self._parts(inputs)

    @staticmethod
    def _parts(inputs: Feed) -> Iterator[dict[str, NDArray[Any]]]:
        count = min(len(value) for value in inputs.values())
        for start in range(0, count, _BATCH):
            yield {name: value[start : start + _BATCH] for name, value in inputs.items()}

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        """Returns the next batch, None after the last."""
        return next(self._batches, None)


def quantise(regions: Regions, inputs: Feed) -> onnx.ModelProto:
    """Returns a graph with Q/DQ pairs around what `quantised_nodes` names.

    Args:
        regions: of a graph whose nodes have distinct names; it is not changed.
        inputs: real ones by name, (N, ...), as the graph takes them.

    Raises:
        ModelError: the quantizer refuses the graph.
    """
    import onnx

    names = [node.proto.name for node in quantised_nodes(regions)]
    model = regions.view.model
    if not names:
        return copied(model)
    with tempfile.TemporaryDirectory() as folder, _quiet():
        path = Path(folder) / "int8.onnx"
        try:
            _quantize_static(copied(model), path, CalibrationBatches(inputs), names)
            made = onnx.load(path)
        except Exception as error:  # the quantizer raises whatever meets it
            raise ModelError(f"ONNX Runtime cannot quantize the graph: {' '.join(str(error).split())[:300]}") from error
    del made.metadata_props[:], made.graph.value_info[:]
    made.metadata_props.extend(model.metadata_props)
    made.ir_version = max(model.ir_version, 8)
    return made


def _quantize_static(own: onnx.ModelProto, path: Path, batches: CalibrationBatches, names: list[str]) -> None:
    """Lets ONNX Runtime quantize the nodes of these names, and write the graph."""
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.quant_utils import add_pre_process_metadata

    add_pre_process_metadata(own)  # batch norms are folded already, and the quantizer would say so at length
    options = {
        "ActivationSymmetric": True,
        "WeightSymmetric": True,
        "QuantizeBias": False,
        "OpTypesToExcludeOutputQuantization": [*_LAYERS, "Add"],
    }
    quantize_static(
        own,
        str(path),
        batches,
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=sorted({*_LAYERS, "Add"}),
        per_channel=True,
        activation_type=QuantType.QInt8,
        weight_type=QuantType.QInt8,
        nodes_to_quantize=names,
        calibrate_method=CalibrationMethod.MinMax,
        extra_options=options,
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences what the quantizer logs to the root logger."""
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(before)
