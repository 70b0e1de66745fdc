"""What a dead channel holds after an elementwise operator: the operator is run on the value itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from agfedge_export.graph.view import NodeView

_CACHE: dict[tuple[str, bytes, bytes], float] = {}
_ZERO_TO_ZERO = frozenset(
    ("Abs", "Asin", "Atan", "Cast", "Ceil", "Elu", "Erf", "Floor", "Gelu", "HardSwish", "Identity", "LeakyRelu", "Mish",
     "Neg", "Relu", "Round", "Selu", "Sign", "Sin", "Sinh", "Softsign", "Sqrt", "Swish", "Tan", "Tanh")
)  # fmt: skip


def dead_after(
    node: NodeView, opset: int, dead: NDArray[np.float64], *extra: NDArray[np.generic] | None
) -> NDArray[np.float64]:
    """Returns the value of each dead channel after a unary elementwise node, shape of `dead`; NaN where unknown."""
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
        _CACHE[key] = _run(node, opset, value, extra)
    return _CACHE[key]


def _run(node: NodeView, opset: int, value: float, extra: tuple[NDArray[np.generic] | None, ...]) -> float:
    """Runs the node alone, through ONNX's reference implementation, on one element."""
    import onnx
    from onnx.reference import ReferenceEvaluator

    names = ["x", *("" if each is None else f"e{index}" for index, each in enumerate(extra))]
    proto = onnx.NodeProto()
    proto.CopyFrom(node.proto)
    del proto.input[:], proto.output[:]
    proto.input.extend(names)
    proto.output.append("y")
    feeds: dict[str, NDArray[np.generic]] = {"x": np.array([value], dtype=np.float32)}
    feeds.update({name: each for name, each in zip(names[1:], extra, strict=True) if each is not None})
    graph = onnx.helper.make_graph(
        [proto],
        "dead",
        [
            onnx.helper.make_tensor_value_info(name, onnx.helper.np_dtype_to_tensor_dtype(each.dtype), each.shape)
            for name, each in feeds.items()
        ],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)])
    with np.errstate(all="ignore"):
        answer = float(np.asarray(next(iter(ReferenceEvaluator(model).run(None, feeds)))).ravel()[0])
    return answer if np.isfinite(answer) else float("nan")
