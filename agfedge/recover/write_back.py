"""The recovered weights go back into the graph that surgery made."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agfedge.recover.student import output_difference
from agfedge_export.errors import SurgeryError

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

    from agfedge.recover.student import Student

TOLERANCE = 1e-3


def write_back(student: Student, pruned: onnx.ModelProto, probe: NDArray[np.float32]) -> onnx.ModelProto:
    """Returns the pruned graph with the student's parameters, checked against the student on `probe`.

    Raises:
        SurgeryError: a parameter has another shape in the graph, or the graph answers otherwise than the student.
    """
    import onnx

    model = onnx.ModelProto()
    model.CopyFrom(pruned)
    state = student.state()
    for tensor in model.graph.initializer:
        value = state.get(tensor.name)
        if value is None:
            continue
        if tuple(tensor.dims) != value.shape:
            raise SurgeryError(
                f"{tensor.name} is {tuple(tensor.dims)} in the graph and {value.shape} in the module: report this model"
            )
        tensor.CopyFrom(onnx.numpy_helper.from_array(np.ascontiguousarray(value), tensor.name))
    difference = output_difference(student.module, model, probe)
    if not difference <= TOLERANCE:
        raise SurgeryError(
            f"the graph with recovered weights differs from the trained module by {difference:.1e} of the output's "
            f"scale, expected at most {TOLERANCE:.0e}: a parameter was folded away by the export; report this model"
        )
    return model
