"""Graphs of any length, for the question how time grows with the number of nodes."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def residual_chain(blocks: int, width: int = 16) -> onnx.ModelProto:
    """Makes a residual network of `blocks` blocks on one stream: seven nodes each, batch norm unfolded."""
    generator = np.random.default_rng(0)
    nodes: list[onnx.NodeProto] = []
    weights: list[onnx.TensorProto] = []

    def parameter(name: str, *shape: int) -> str:
        scale = 1 / np.sqrt(np.prod(shape[1:])) if len(shape) > 1 else 1.0
        value = np.abs(generator.standard_normal(shape)) + 0.1 if len(shape) == 1 else generator.standard_normal(shape)
        weights.append(numpy_helper.from_array((scale * value).astype(np.float32), name))
        return name

    def convolution(source: str, name: str, channels_in: int) -> str:
        conv = helper.make_node(
            "Conv", [source, parameter(f"{name}.w", width, channels_in, 3, 3)], [f"{name}.c"], pads=[1, 1, 1, 1]
        )
        norm = [parameter(f"{name}.{each}", width) for each in ("scale", "bias", "mean", "var")]
        nodes.extend((conv, helper.make_node("BatchNormalization", [f"{name}.c", *norm], [f"{name}.n"])))
        return f"{name}.n"

    def joined(operator: str, sources: list[str], name: str) -> str:
        nodes.append(helper.make_node(operator, sources, [name]))
        return name

    stream = joined("Relu", [convolution("x", "stem", 3)], "stem.r")
    for index in range(blocks):
        inner = joined("Relu", [convolution(stream, f"b{index}.1", width)], f"b{index}.r")
        added = joined("Add", [convolution(inner, f"b{index}.2", width), stream], f"b{index}.a")
        stream = joined("Relu", [added], f"b{index}.y")
    head = parameter("head.w", 10, width, 1, 1)
    nodes.append(helper.make_node("Conv", [stream, head], ["y"]))
    start, end = (
        helper.make_tensor_value_info(side, TensorProto.FLOAT, ["N", channels, 8, 8])
        for side, channels in (("x", 3), ("y", 10))
    )
    graph = helper.make_graph(nodes, "chain", [start], [end], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
