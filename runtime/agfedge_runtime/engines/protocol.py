"""What the cascade asks of a backend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from agfedge_runtime.arrays import AnyArray


class Engine(Protocol):
    """One graph, ready to run.

    Attributes:
        name: the backend's name.
        version: the backend's version.
        threads: how many CPU threads one run may use.
        input_names: the graph's inputs.
        output_names: the graph's outputs.
    """

    name: str
    version: str
    threads: int
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]

    def run(self, inputs: Mapping[str, AnyArray], outputs: Sequence[str]) -> list[AnyArray]:
        """Compute `outputs` and nothing that they do not need.

        Args:
            inputs: an array for each input, batch first.
            outputs: names of outputs; a tuple is quickest.

        Returns:
            One array for each name in `outputs`, in that order; they belong to the caller.

        Raises:
            BackendError: the backend refused, or the engine is closed.
        """
        ...

    def close(self) -> None:
        """Give back what the engine holds; safe to call twice."""
        ...
