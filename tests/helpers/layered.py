"""Graphs whose layers are told apart: only the shapes of their weights matter."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.numpy_helper
import onnx.parser

from agfedge.account.layers import LayeredGraph


def layered(text: str) -> LayeredGraph:
    """A graph from ONNX text; inputs that are called w... become weights of zeros."""
    model = onnx.parser.parse_model(text)
    weights = [value for value in model.graph.input if value.name.startswith("w")]
    for value in weights:
        shape = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros(shape, np.float32), value.name))
        model.graph.input.remove(value)
    return LayeredGraph(model)
