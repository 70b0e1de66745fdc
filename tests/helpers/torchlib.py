"""Spares each export of torch what it would do anew: to parse the source of some 500 functions of its library."""

from __future__ import annotations

import copy
from functools import cache


def read_torchlib_once() -> None:
    """Has the exporter's table of operators made once in this process. Where torch has no such table, does nothing."""
    try:
        from torch.onnx._internal.exporter._registration import ONNXRegistry
    except ImportError:
        return
    made = cache(ONNXRegistry.from_torchlib)

    def from_torchlib(**opset_version: int) -> ONNXRegistry:
        # An export adds what its caller translates to its own table.
        own = copy.copy(made(**opset_version))
        own.functions = {target: list(functions) for target, functions in own.functions.items()}
        return own

    ONNXRegistry.from_torchlib = staticmethod(from_torchlib)
