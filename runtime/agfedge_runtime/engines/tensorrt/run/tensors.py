"""What a deserialized engine takes and answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Tuple

import numpy as np

from agfedge_runtime.engines.tensorrt.build.library import Library
from agfedge_runtime.errors import BackendError

Shape = Tuple[int, ...]

# Looked up by name: `tensorrt.nptype` of 8.5 and 8.6 fails with NumPy from 1.24 on.
_NUMPY = {
    "FLOAT": np.float32, "HALF": np.float16, "INT8": np.int8, "UINT8": np.uint8, "INT32": np.int32,
    "INT64": np.int64, "BOOL": np.bool_,
}  # fmt: skip


@dataclass(frozen=True)
class TensorSpec:
    """One input or output.

    Attributes:
        name: as in the ONNX graph.
        is_input: or an output.
        dtype: of its elements.
        shape: -1 where the size is given by a run.
        least: the smallest shape of an input; an output's is its `shape`.
        usual: the shape of an input that the engine was tuned for.
        most: the largest shape of an input.
    """

    name: str
    is_input: bool
    dtype: np.dtype[Any]
    shape: Shape
    least: Shape
    usual: Shape
    most: Shape

    def takes(self, shape: Shape) -> bool:
        """Whether a run may give it this shape."""
        return len(shape) == len(self.shape) and all(
            low <= size <= high for low, size, high in zip(self.least, shape, self.most)
        )

    @property
    def expected(self) -> str:
        """What it takes, in words."""
        sizes = (f"{low}" if low == high else f"{low} to {high}" for low, high in zip(self.least, self.most))
        return f"{self.dtype} ({', '.join(sizes)})"


def read_tensors(library: Library, engine: Any, title: str) -> dict[str, TensorSpec]:
    """Every input and output by name, in the engine's order.

    Args:
        library: whose engine it is.
        engine: an ``ICudaEngine``.
        title: what messages call it.

    Raises:
        BackendError: one of them has a type that NumPy lacks, or lies in the host's memory.
    """
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    return {name: _read_tensor(library, engine, name, title) for name in names}


def _read_tensor(library: Library, engine: Any, name: str, title: str) -> TensorSpec:
    module: Any = library.module
    is_input = engine.get_tensor_mode(name) == module.TensorIOMode.INPUT
    if engine.get_tensor_location(name) != module.TensorLocation.DEVICE:
        raise BackendError(f"{title}: {name} holds a shape, expected an array; export the graph without shape tensors")
    shape = tuple(engine.get_tensor_shape(name))
    ranges = (shape, shape, shape)
    if is_input and -1 in shape:
        least, usual, most = engine.get_tensor_profile_shape(name, 0)
        ranges = (tuple(least), tuple(usual), tuple(most))
    return TensorSpec(name, is_input, _dtype(module, engine.get_tensor_dtype(name), name, title), shape, *ranges)


def _dtype(module: Any, kind: object, name: str, title: str) -> np.dtype[Any]:
    for known, dtype in _NUMPY.items():
        # Not every version has every type.
        if kind == getattr(module.DataType, known, None):
            return np.dtype(dtype)
    raise BackendError(f"{title}: {name} has the type {kind}, expected one of {', '.join(_NUMPY)}; export it again")
