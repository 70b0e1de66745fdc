"""The proof after the surgery: the pruned graph equals the masked one, on random and on extreme inputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from agfedge_export.errors import ModelError, SurgeryError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx
    from numpy.typing import NDArray

TOLERANCE = 1e-4


@dataclass(frozen=True)
class CheckReport:
    """How far two graphs lie apart.

    Attributes:
        max_relative_error: greatest absolute difference over all outputs, relative to the output's largest magnitude.
        max_absolute_error: the same, not scaled.
        inputs: how many inputs were tried.
    """

    max_relative_error: float
    max_absolute_error: float
    inputs: int


def compare(left: onnx.ModelProto, right: onnx.ModelProto, feeds: list[Mapping[str, NDArray[Any]]]) -> CheckReport:
    """Runs two models on the same inputs in ONNX Runtime and measures how far their outputs lie apart.

    Raises:
        ModelError: one of them does not run.
    """
    first, second = _outputs(left, feeds), _outputs(right, feeds)
    relative = absolute = 0.0
    for ours, theirs in zip(first, second, strict=True):
        for a, b in zip(ours, theirs, strict=True):
            if a.shape != b.shape:
                raise SurgeryError(f"an output changed its shape from {a.shape} to {b.shape}, nothing was written")
            if a.size == 0 or a.dtype.kind not in "fiu":
                continue
            finite = np.isfinite(a) & np.isfinite(b)
            if not np.array_equal(np.isfinite(a), np.isfinite(b)):
                relative = absolute = float("inf")
            difference = np.abs(a.astype(np.float64) - b.astype(np.float64))[finite].max(initial=0.0)
            scale = np.abs(a.astype(np.float64))[finite].max(initial=0.0)
            absolute = max(absolute, float(difference))
            relative = max(relative, float(difference / scale) if scale > 0 else float(difference))
    return CheckReport(relative, absolute, len(feeds))


def check(masked: onnx.ModelProto, pruned: onnx.ModelProto, seed: int = 0) -> CheckReport:
    """Compares the pruned graph with the masked original.

    Raises:
        SurgeryError: they differ by more than `TOLERANCE` of the output's scale.
    """
    report = compare(masked, pruned, trial_inputs(masked, seed))
    if not report.max_relative_error <= TOLERANCE:
        raise SurgeryError(
            f"the pruned graph differs from the masked one by {report.max_relative_error:.2e} of the output's scale, "
            f"expected at most {TOLERANCE:.0e}; nothing was written: report this model"
        )
    return report


def trial_inputs(model: onnx.ModelProto, seed: int = 0) -> list[Mapping[str, NDArray[Any]]]:
    """Returns inputs to try: two random ones, zeros, and large values. Symbolic dimensions get size 2."""
    import onnx

    generator = np.random.default_rng(seed)
    weights = {tensor.name for tensor in model.graph.initializer}
    feeds: list[dict[str, NDArray[Any]]] = [{}, {}, {}, {}]
    for value in model.graph.input:
        if value.name in weights:
            continue
        shape = [dim.dim_value if dim.HasField("dim_value") else 2 for dim in value.type.tensor_type.shape.dim]
        dtype = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        for feed, values in zip(feeds, _trial_values(generator, shape, dtype), strict=True):
            feed[value.name] = values.astype(dtype)
    return list(feeds)


def _trial_values(generator: np.random.Generator, shape: list[int], dtype: np.dtype[Any]) -> list[NDArray[Any]]:
    if dtype.kind in "iub":
        top = 2 if dtype.kind == "b" else 100
        return [generator.integers(0, top, shape) for _ in range(2)] + [
            np.zeros(shape),
            np.full(shape, top - 1),
        ]
    normal = generator.standard_normal(shape)
    return [normal, generator.uniform(0, 1, shape), np.zeros(shape), 30.0 * generator.standard_normal(shape)]


def _outputs(model: onnx.ModelProto, feeds: list[Mapping[str, NDArray[Any]]]) -> list[list[NDArray[Any]]]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return [session.run(None, dict(feed)) for feed in feeds]
    except Exception as error:  # ONNX Runtime raises types of its own native module
        raise ModelError(f"ONNX Runtime cannot run the graph: {str(error).strip()[:300]}") from error
