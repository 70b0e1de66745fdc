"""Run an agfedge bundle: two experts, chained by a prior and a confidence."""

from __future__ import annotations

from agfedge_runtime.bundle import Bundle
from agfedge_runtime.cascade import Cascade
from agfedge_runtime.decisions import Branch, Decisions
from agfedge_runtime.errors import AgfedgeError

__version__ = "0.1.0"
__all__ = [
    "AgfedgeError",
    "Branch",
    "Bundle",
    "Cascade",
    "Decisions",
]
