"""The proof's independent half: masks replayed from plan.json and outputs compared, by numpy and ONNX Runtime alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import numpy_helper

Feed = dict[str, np.ndarray]


def replayed_mask(model: onnx.ModelProto, plan_json: str) -> onnx.ModelProto:
    """Zeroes what a plan drops: for every member that produces, the entries that are not kept.

    Args:
        model: the original, which is not changed.
        plan_json: the text of `plan.json`.
    """
    masked = onnx.ModelProto()
    masked.CopyFrom(model)
    values = _constants(model)
    own: dict[tuple[int, int], np.ndarray] = {}
    for group in json.loads(plan_json)["groups"]:
        for member in group["members"]:
            if member["role"] != "produces":
                continue
            value = own.setdefault((member["node"], member["input"]), values[member["tensor"]].copy())
            dropped = np.setdiff1d(np.arange(value.shape[member["axis"]]), member["keep"])
            np.moveaxis(value, member["axis"], 0)[dropped] = 0
    for (node, position), value in own.items():
        name = f"masked_{node}_{position}"
        masked.graph.initializer.append(numpy_helper.from_array(value, name))
        masked.graph.node[node].input[position] = name
    return masked


def _constants(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            values[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    return values


@dataclass(frozen=True)
class Difference:
    """How far two models lie apart on one input, relative to each output's largest magnitude.

    Attributes:
        error: greatest difference; infinite where shapes differ, or one is finite where the other is not.
        noise: the same between each model and itself, with and without ONNX Runtime's graph optimisations: what
            rounding alone does to this input. Saturated gates and TopK amplify it without bound.
    """

    error: float
    noise: float

    def equal(self, tolerance: float) -> bool:
        """Whether the error is within the tolerance, or no larger than what rounding alone does."""
        return self.error <= max(tolerance, 4 * self.noise) and np.isfinite(self.error)


def differences(left: onnx.ModelProto, right: onnx.ModelProto, feeds: Sequence[Feed]) -> list[Difference]:
    """Compares two models on each input."""
    a, b = _run(left, feeds), _run(right, feeds)
    plain_a, plain_b = _run(left, feeds, optimised=False), _run(right, feeds, optimised=False)
    found = []
    for index in range(len(feeds)):
        noise = max(relative_error(a[index], plain_a[index]), relative_error(b[index], plain_b[index]))
        found.append(Difference(relative_error(a[index], b[index]), noise))
    return found


def relative_error(left: Sequence[np.ndarray], right: Sequence[np.ndarray]) -> float:
    """Returns the greatest difference between outputs, relative to each output's largest magnitude."""
    worst = 0.0
    for a, b in zip(left, right, strict=True):
        if a.shape != b.shape or not np.array_equal(np.isfinite(a), np.isfinite(b)):
            return float("inf")
        finite = np.isfinite(a)
        difference = np.abs(a[finite].astype(np.float64) - b[finite]).max(initial=0.0)
        worst = max(worst, float(difference / max(np.abs(a[finite]).max(initial=0.0), 1e-12)))
    return worst


def _run(model: onnx.ModelProto, feeds: Sequence[Feed], optimised: bool = True) -> list[list[np.ndarray]]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return [session.run(None, feed) for feed in feeds]


def output_channels(model: onnx.ModelProto) -> int:
    """Counts the output channels of every convolution and matrix product that has a weight."""
    shapes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    return sum(_channels(node, shapes) for node in model.graph.node)


def _channels(node: onnx.NodeProto, shapes: dict[str, tuple[int, ...]]) -> int:
    attributes = {each.name: each.i for each in node.attribute}
    weight = shapes.get(node.input[1], ()) if len(node.input) > 1 else ()
    if len(weight) < 2:
        return 0
    if node.op_type == "Conv":
        return weight[0]
    if node.op_type == "ConvTranspose":
        return weight[1] * attributes.get("group", 1)
    if node.op_type == "Gemm":
        return weight[0] if attributes.get("transB", 0) else weight[1]
    return weight[-1] if node.op_type == "MatMul" else 0
