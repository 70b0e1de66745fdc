"""What a foreign graph answers: as its file does, and whether a changed one still answers so."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agfedge_export.surgery.check import TOLERANCE

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray


def run_in_batches(core: onnx.ModelProto, x: NDArray[np.float32], size: int) -> NDArray[np.floating]:
    """Runs a graph in batches of a size; its errors, of whatever type, are for the caller to tell."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what fails is raised, and told in one line
    session = onnxruntime.InferenceSession(core.SerializeToString(), options, providers=["CPUExecutionProvider"])
    name = core.graph.input[0].name
    parts = [session.run(None, {name: x[start : start + size]})[0] for start in range(0, len(x), size)]
    return np.concatenate(parts)


def misfit(core: onnx.ModelProto, x: NDArray[np.float32], expected: NDArray[np.floating]) -> str:
    """Runs all rows together and each alone; returns what is wrong with the answers, "" for nothing."""
    for size in (len(x), 1):
        try:
            answers = run_in_batches(core, x, size)
        except Exception:  # ONNX Runtime raises types of its own native module
            return "fails"
        if answers.shape != expected.shape:
            return f"answers {answers.shape} for {len(x)} inputs"
        apart = float(np.abs(answers - expected).max() / (np.abs(expected).max() or 1.0))
        if not apart <= TOLERANCE:
            return f"answers {apart:.1e} of the logits' scale away"
    return ""
