"""Errors of the ONNX side.

AgfedgeError
├── ModelError     a model that cannot be read, checked or inferred
├── PlanError      a plan that does not fit its model
└── SurgeryError   a rewritten graph that is not what the plan promised; nothing is written
"""

from __future__ import annotations

from agfedge_runtime.errors import AgfedgeError


class ModelError(AgfedgeError):
    """A model cannot be read, fails the ONNX checker, or its shapes cannot be inferred."""


class PlanError(AgfedgeError):
    """A plan does not fit the model that it is applied to."""


class OrderError(PlanError):
    """Channels that meet would come in different orders: rows of a shuffle must lose the same columns.

    Attributes:
        atoms: the channels where it shows, as the analysis numbers them.
    """

    def __init__(self, atoms: list[int]) -> None:
        super().__init__("rows of shuffled channels lose different columns: keep the same columns of every row")
        self.atoms = atoms


class SurgeryError(AgfedgeError):
    """A rewritten graph is not what its plan promised."""
