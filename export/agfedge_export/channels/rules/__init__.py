"""What each ONNX operator does to channels: one file a family, one small function an operator.

`@rule("Relu", "Clip")` names the operators that a function understands.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agfedge_export.channels.tracer import Tracer
    from agfedge_export.graph.view import NodeView

Rule = Callable[["Tracer", "NodeView"], None]

_FAMILIES = ("convolution", "einsum", "elementwise", "matrix", "movement", "reduction")
_RULES: dict[str, Rule] = {}


def rule(*ops: str) -> Callable[[Rule], Rule]:
    """Registers a function for operators of ONNX's own domain.

    Raises:
        ValueError: an operator has a rule already.
    """

    def register(function: Rule) -> Rule:
        for op in ops:
            if op in _RULES:
                raise ValueError(f"operator {op} has a rule already")
            _RULES[op] = function
        return function

    return register


def find_rule(domain: str, op: str) -> Rule | None:
    """Returns the rule of an operator, or None when there is none."""
    for family in _FAMILIES:
        import_module(f"agfedge_export.channels.rules.{family}")
    return None if domain else _RULES.get(op)
