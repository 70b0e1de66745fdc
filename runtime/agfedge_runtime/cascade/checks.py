"""What every graph must be, seen by running it on two rows, and how its faults are told."""

from __future__ import annotations

from typing import Mapping

import numpy as np

from agfedge_runtime.arrays import AnyArray, Float32Array
from agfedge_runtime.bundle.manifest import InputSpec
from agfedge_runtime.engines.protocol import Engine
from agfedge_runtime.errors import BackendError

Feeds = Mapping[str, AnyArray]

# The square of more is infinite in float32.
_LARGEST = 1e19


def input_probe(spec: InputSpec) -> AnyArray:
    """Two rows of zeros: two, so that a graph whose batch is frozen shows itself."""
    return np.zeros((2, *spec.row_shape), spec.dtype)


def probed(graph: str, engine: Engine, probe: Feeds, outputs: tuple[str, ...]) -> list[AnyArray]:
    """Run a graph on two rows, once its names are right.

    Raises:
        BackendError: its inputs or outputs have other names, or it does not take what it is fed.
    """
    require_names(graph, engine, tuple(probe), outputs)
    try:
        return engine.run(probe, outputs)
    except BackendError as error:
        taken = ", ".join(f"{name} {value.dtype} {value.shape}" for name, value in probe.items())
        raise BackendError(f"the {graph} graph does not take {taken}: {error}; export the bundle again") from error


def require_names(graph: str, engine: Engine, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> None:
    """Refuse a graph that takes or answers something else.

    Raises:
        BackendError: its inputs are not `inputs`, in any order, or one of `outputs` is missing.
    """
    if sorted(engine.input_names) != sorted(inputs):
        raise BackendError(
            f"the {graph} graph has the inputs {', '.join(engine.input_names) or 'none'}, "
            f"expected {', '.join(inputs)} as the manifest says; export the bundle again"
        )
    for name in outputs:
        if name not in engine.output_names:
            raise BackendError(
                f"the {graph} graph has the outputs {', '.join(engine.output_names) or 'none'}, "
                f"expected {name} among them; export the bundle again"
            )


def require_rows(graph: str, name: str, output: AnyArray, row: tuple[int, ...]) -> None:
    """Refuse what is not float32 with two rows of shape `row`.

    Raises:
        BackendError: it is something else.
    """
    if output.dtype != np.float32 or output.shape != (2, *row):
        raise BackendError(
            f"the {graph} graph answers {name} as {output.dtype} {output.shape} for two inputs, "
            f"expected float32 {(2, *row)}; export the bundle again"
        )


def bad_rows(output: Float32Array) -> str:
    """How many rows hold NaN, infinity or an absurd number, in words."""
    sound = (np.abs(output) < _LARGEST).reshape(len(output), -1).all(axis=1)
    return f"{int((~sound).sum())} of {len(output)} inputs"
