"""How large a graph's tensors get on real inputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from agfedge_export.errors import ModelError
from agfedge_export.precision.regions import FLOAT, Regions

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

# Inputs that are looked at, and how many at once: every tensor of the graph is held at the same time.
_INPUTS, _BATCH = 64, 4


def largest_values(model: onnx.ModelProto, regions: Regions, inputs: Mapping[str, NDArray[Any]]) -> dict[str, float]:
    """Returns the greatest magnitude of each float tensor that a node answers, over some inputs.

    Args:
        model: not changed; without its names in `regions` being others.
        regions: of it.
        inputs: real ones by name, (N, ...), as the graph takes them.

    Raises:
        ModelError: ONNX Runtime cannot run the graph on them.
    """
    import onnx
    import onnxruntime

    names = [name for node in regions.view.nodes for name in node.outputs if regions.types.get(name) == FLOAT]
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    del watched.graph.output[:]
    watched.graph.output.extend(onnx.helper.make_tensor_value_info(name, FLOAT, None) for name in names)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    found = dict.fromkeys(names, 0.0)
    try:
        session = onnxruntime.InferenceSession(watched.SerializeToString(), options, providers=["CPUExecutionProvider"])
        for start in range(0, min(_INPUTS, *(len(value) for value in inputs.values())), _BATCH):
            values = session.run(names, {name: value[start : start + _BATCH] for name, value in inputs.items()})
            for name, value in zip(names, values, strict=True):
                found[name] = max(found[name], float(np.abs(value).max(initial=0.0, where=np.isfinite(value))))
    except Exception as error:  # ONNX Runtime raises types of its own native module
        reason = " ".join(str(error).split())[:300]
        raise ModelError(f"ONNX Runtime cannot run the graph on the inputs given: {reason}") from error
    return found
