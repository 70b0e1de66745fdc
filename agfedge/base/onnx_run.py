"""Graphs in memory, run over whole data sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from agfedge_runtime.errors import BackendError

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray


BATCH = 256


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
        options.log_severity_level = 4  # what fails is raised, and told in one line
        if threads is not None:
            options.intra_op_num_threads = threads
        try:
            self._session = onnxruntime.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime raises types of its own native module
            raise BackendError(f"ONNX Runtime refuses the graph: {str(error).strip()[:300]}") from error
        self._inputs = [value.name for value in self._session.get_inputs()]

    def run(self, given: Mapping[str, NDArray[np.generic]], names: Sequence[str] | None) -> list[NDArray[np.float32]]:
        """Runs one batch: feeds the graph what it takes of `given`, and returns the named outputs, all where None.

        Raises:
            BackendError: ONNX Runtime cannot run the graph.
        """
        try:
            answers: list[NDArray[np.float32]] = self._session.run(names, {name: given[name] for name in self._inputs})
        except Exception as error:  # as above
            raise BackendError(f"ONNX Runtime cannot run the graph: {str(error).strip()[:300]}") from error
        return answers

    def outputs(
        self, x: NDArray[np.generic], names: Sequence[str] | None = None, batch_size: int = BATCH
    ) -> list[NDArray[np.float32]]:
        """Runs all of `x` (N, ...), the one input, and returns the named outputs, all where None, each (N, ...).

        Raises:
            BackendError: ONNX Runtime cannot run the graph.
        """
        parts = [
            self.run({self._inputs[0]: x[start : start + batch_size]}, names) for start in range(0, len(x), batch_size)
        ]
        return [np.concatenate(column) for column in zip(*parts, strict=True)]

    def once(self, inputs: Sequence[NDArray[np.generic]]) -> list[NDArray[np.float32]]:
        """Runs the graph on its inputs, in their order, and returns all outputs."""
        return self.run(dict(zip(self._inputs, inputs, strict=True)), None)
