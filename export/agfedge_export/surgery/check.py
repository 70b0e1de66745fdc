"""The proof after the surgery: the pruned graph equals the masked one, on random and on extreme inputs."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from agfedge_export.errors import ModelError, SurgeryError
from agfedge_export.graph.model_io import LARGEST_FILE_BYTES, model_bytes, write_model
from agfedge_export.graph.shape_values import given_shapes
from agfedge_export.graph.view import SIZES

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
        rounding: where the error passes `TOLERANCE`, how far the first graph lies from itself when ONNX Runtime runs it
            without optimisations: the part that rounding alone explains. 0 where it was not needed.
    """

    max_relative_error: float
    max_absolute_error: float
    inputs: int
    rounding: float = 0.0


def compare(left: onnx.ModelProto, right: onnx.ModelProto, feeds: list[Mapping[str, NDArray[Any]]]) -> CheckReport:
    """Runs two models on the same inputs in ONNX Runtime and measures how far their outputs lie apart.

    Raises:
        ModelError: one of them does not run.
        SurgeryError: an output has another shape.
    """
    first, second = _outputs(left, feeds), _outputs(right, feeds)
    errors = [_apart(ours, theirs) for ours, theirs in zip(first, second, strict=True)]
    relative, absolute = (max(each) for each in zip(*errors, strict=True))
    return CheckReport(relative, absolute, len(feeds))


def _apart(ours: list[NDArray[Any]], theirs: list[NDArray[Any]]) -> tuple[float, float]:
    """Returns the greatest difference of one input's outputs: relative to each output's scale, and absolute."""
    relative = absolute = 0.0
    for a, b in zip(ours, theirs, strict=True):
        if a.shape != b.shape:
            raise SurgeryError(f"an output changed its shape from {a.shape} to {b.shape}, nothing was written")
        if a.size == 0 or a.dtype.kind not in "fiu":
            continue
        if not np.array_equal(np.isfinite(a), np.isfinite(b)):
            return float("inf"), float("inf")
        finite = np.isfinite(a)
        if not np.array_equal(a[~finite], b[~finite], equal_nan=True):
            return float("inf"), float("inf")
        difference = float(np.abs(a[finite].astype(np.float64) - b[finite].astype(np.float64)).max(initial=0.0))
        scale = float(np.abs(a.astype(np.float64))[finite].max(initial=0.0))
        absolute = max(absolute, difference)
        relative = max(relative, difference / scale if scale > 0 else difference)
    return relative, absolute


def check(masked: onnx.ModelProto, pruned: onnx.ModelProto, seed: int = 0) -> CheckReport:
    """Compares the pruned graph with the masked original, on random and on extreme inputs.

    An ill-conditioned network magnifies rounding on extreme inputs until even the masked graph, run without
    optimisations, differs from itself. An input on which that happens may differ by four times as much, and no more.

    Raises:
        SurgeryError: they differ by more than `TOLERANCE` of the output's scale.
    """
    feeds = trial_inputs(masked, seed)
    report = compare(masked, pruned, feeds)
    if report.max_relative_error <= TOLERANCE:
        return report
    rounding = 0.0
    for feed in feeds:
        error = compare(masked, pruned, [feed]).max_relative_error
        if error <= TOLERANCE:
            continue
        itself = zip(_outputs(masked, [feed]), _outputs(masked, [feed], optimised=False), strict=True)
        noise = max(_apart(ours, theirs)[0] for ours, theirs in itself)
        rounding = max(rounding, noise)
        if not error <= 4 * noise:
            raise SurgeryError(
                f"the pruned graph differs from the masked one by {error:.2e} of the output's scale, expected at most "
                f"{TOLERANCE:.0e}; nothing was written: report this model"
            )
    return CheckReport(report.max_relative_error, report.max_absolute_error, report.inputs, rounding)


def trial_inputs(model: onnx.ModelProto, seed: int = 0) -> list[Mapping[str, NDArray[Any]]]:
    """Returns inputs to try: two random ones, zeros, and large values. A symbolic batch is of two."""
    import onnx

    generator = np.random.default_rng(seed)
    weights = {tensor.name for tensor in model.graph.initializer}
    shapes = given_shapes(model, batch=2, spatial=SIZES[1])
    feeds: list[dict[str, NDArray[Any]]] = [{}, {}, {}, {}]
    for value in model.graph.input:
        if value.name in weights:
            continue
        shape = list(shapes[value.name])
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


def _outputs(
    model: onnx.ModelProto, feeds: list[Mapping[str, NDArray[Any]]], *, optimised: bool = True
) -> list[list[NDArray[Any]]]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        with _loadable(model) as source:
            session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        return [session.run(None, dict(feed)) for feed in feeds]
    except Exception as error:  # ONNX Runtime raises types of its own native module
        raise ModelError(f"ONNX Runtime cannot run the graph: {str(error).strip()[:300]}") from error


@contextmanager
def _loadable(model: onnx.ModelProto) -> Iterator[bytes | str]:
    """Gives what ONNX Runtime opens a model from: its bytes, or a file where it is too large to serialise."""
    if model_bytes(model) <= LARGEST_FILE_BYTES:
        yield model.SerializeToString()
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        write_model(path, model)
        yield str(path)
