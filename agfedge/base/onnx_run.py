"""Graphs in memory, run over whole data sets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from agfedge_runtime.errors import BackendError

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray


class OnnxRun:
    """One graph, in ONNX Runtime on the CPU."""

    def __init__(self, model: onnx.ModelProto, threads: int | None = None) -> None:
        """Opens a session.

        Args:
            model: the graph.
            threads: of one operator; None for as many as there are cores.

        Raises:
            BackendError: ONNX Runtime refuses the graph.
        """
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        if threads is not None:
            options.intra_op_num_threads = threads
        try:
            self._session = onnxruntime.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime raises types of its own native module
            raise BackendError(f"ONNX Runtime refuses the graph: {str(error).strip()[:300]}") from error
        self._inputs = [each.name for each in self._session.get_inputs()]

    def outputs(
        self, x: NDArray[np.generic], names: Sequence[str] | None = None, batch_size: int = 256
    ) -> list[NDArray[np.float32]]:
        """Runs all of `x` (N, ...), the one input, and returns the named outputs, all where None, each (N, ...).

        Raises:
            BackendError: ONNX Runtime cannot run the graph.
        """
        wanted = None if names is None else list(names)
        try:
            parts = [
                self._session.run(wanted, {self._inputs[0]: x[start : start + batch_size]})
                for start in range(0, len(x), batch_size)
            ]
        except Exception as error:  # as above
            raise BackendError(f"ONNX Runtime cannot run the graph: {str(error).strip()[:300]}") from error
        return [np.concatenate(column) for column in zip(*parts, strict=True)]

    def once(self, inputs: Sequence[NDArray[np.generic]]) -> list[NDArray[np.float32]]:
        """Runs the graph on its inputs, in their order, and returns all outputs."""
        outputs: list[NDArray[np.float32]] = self._session.run(None, dict(zip(self._inputs, inputs, strict=True)))
        return outputs
