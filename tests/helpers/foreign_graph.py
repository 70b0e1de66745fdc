"""A small network of another origin, as ONNX text."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.parser
from numpy.typing import NDArray
from onnx import numpy_helper

from agfedge.base.onnx_run import OnnxRun

# Named as the heads name theirs, and as the heavy expert does.
GRAPH = """
<ir_version: 7, opset_import: ["": {opset}]>
g (float[{batch},1,6,6] image) => ({answer} logits)
<float[4,1,3,3] conv, float[4,3] linear, float[3] confidence>
{{
  logits__cooled = Conv<pads=[1,1,1,1]>(image, conv)
  relu = Relu(logits__cooled)
  pooled = GlobalMaxPool(relu)
  prior = Flatten(pooled)
  probabilities = MatMul(prior, linear)
  {last}
}}
"""
LAST = "logits = Add(probabilities, confidence)"
SHAPES = {"conv": (4, 1, 3, 3), "linear": (4, 3), "confidence": (3,)}


def foreign_graph(
    text: str = GRAPH, opset: int = 18, batch: object = "N", answer: str = "", last: str = LAST, scale: float = 1.0
) -> onnx.ModelProto:
    """A small network with random weights."""
    model = onnx.parser.parse_model(
        text.format(opset=opset, batch=batch, answer=answer or f"float[{batch},3]", last=last)
    )
    generator = np.random.default_rng(5)
    del model.graph.initializer[:]
    for name, shape in SHAPES.items():
        weights = (scale * generator.standard_normal(shape)).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(weights, name))
    return model


def answers(model: onnx.ModelProto, x: NDArray[np.float32], size: int = 1) -> NDArray[np.float32]:
    """What a model answers to batches of `size`."""
    return OnnxRun(model).outputs(x, batch_size=size)[0]
