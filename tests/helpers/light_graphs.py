"""The nine light graphs that the onnx package ships, with random weights in place of their constants.

Their weights are `ConstantOfShape` nodes that repeat one value: with those, an equality test would prove nothing.
"""

from __future__ import annotations

from collections import ChainMap
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper


def light_graph(name: str, opset: int) -> onnx.ModelProto:
    """Reads a light graph, draws its weights and calibrates its batch norm.

    Args:
        name: such as `light_resnet50`.
        opset: to convert it to.
    """
    folder = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
    model = onnx.version_converter.convert_version(_with_weights(onnx.load(folder / f"{name}.onnx")), opset)
    _calibrate(model)
    return model


def _with_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    graph = model.graph
    given = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    filled = {node.output[0]: given[node.input[0]] for node in graph.node if node.op_type == "ConstantOfShape"}
    floats = {name: value.shape for name, value in given.items() if value.dtype == np.float32}
    shapes = ChainMap({name: tuple(int(size) for size in shape) for name, shape in filled.items()}, floats)
    weights = {name: value for name, value in given.items() if value.dtype != np.float32}
    generator = np.random.default_rng(0)
    roles = _roles(graph)
    for each in sorted(shapes):
        weights[each] = _drawn(generator, shapes[each], roles.get(each, ""))
    nodes = [node for node in graph.node if node.op_type != "ConstantOfShape"]
    read = {name for node in nodes for name in node.input}
    inputs = [value for value in graph.input if value.name in read and value.name not in weights]
    made = onnx.helper.make_graph(nodes, graph.name, inputs, graph.output)
    made.initializer.extend(numpy_helper.from_array(weights[name], name) for name in sorted(weights) if name in read)
    return onnx.helper.make_model(made, opset_imports=model.opset_import, ir_version=8)


def _roles(graph: onnx.GraphProto) -> dict[str, str]:
    """Returns for each parameter the operator and position that read it."""
    return {name: f"{node.op_type} {place}" for node in graph.node for place, name in enumerate(node.input)}


def _drawn(generator: np.random.Generator, shape: tuple[int, ...], role: str) -> NDArray[np.float32]:
    if len(shape) >= 2:
        value = generator.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))
    elif role in ("BatchNormalization 1", "BatchNormalization 4", "Mul 1", "Unsqueeze 0"):
        value = generator.uniform(0.5, 1.5, shape)
    else:
        value = 0.1 * generator.standard_normal(shape)
    return value.astype(np.float32)


def _calibrate(model: onnx.ModelProto) -> None:
    """Sets running means and variances to those of one random image, in one pass.

    With a batch of one, batch norm in training mode is instance norm: the pass runs a copy in which every batch norm is
    one, and reads what flows into them.
    """
    norms = [node for node in model.graph.node if node.op_type == "BatchNormalization"]
    if not norms:
        return
    values = _features(model, [node.input[0] for node in norms])
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in norms:
        features = values[node.input[0]].astype(np.float64)
        axes = (0, *range(2, features.ndim))
        for position, statistic in ((3, features.mean(axes)), (4, features.var(axes))):
            name = node.input[position]
            stored[name].CopyFrom(numpy_helper.from_array(statistic.astype(np.float32), name))


def _features(model: onnx.ModelProto, names: list[str]) -> dict[str, NDArray[Any]]:
    import onnxruntime

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for node in copy.graph.node:
        if node.op_type == "BatchNormalization":
            epsilon = [each for each in node.attribute if each.name == "epsilon"]
            node.op_type = "InstanceNormalization"
            del node.input[3:], node.output[1:], node.attribute[:]
            node.attribute.extend(epsilon)
    copy.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in dict.fromkeys(names))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # the statistics that nothing reads now are no news
    session = onnxruntime.InferenceSession(copy.SerializeToString(), options, providers=["CPUExecutionProvider"])
    shape = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim]
    image = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    return dict(zip(names, session.run(names, {model.graph.input[0].name: image}), strict=True))
