"""What a cascade answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from agfedge_runtime.arrays import Float32Array, Int64Array, UInt8Array

if TYPE_CHECKING:
    from agfedge_runtime.monitor.monitor import Monitor
    from agfedge_runtime.monitor.stats import Stats


@dataclass(frozen=True, eq=False)
class Decisions:
    """Answers for a batch of N inputs and C classes. Arrays may be shared and are not to be written to.

    Attributes:
        labels: int64 (N,), the most probable class.
        probabilities: float32 (N, C), of the expert that answered.
        branches: uint8 (N,), values of `Branch`.
        prior: float32 (N,); NaN where it was not computed.
        confidence: float32 (N,), of the light expert; NaN where it did not run.
        latency_us: microseconds that the whole call took, measured inside it.
        monitor: watches the cascade that decided; None where there is nothing to compare it with.
    """

    labels: Int64Array
    probabilities: Float32Array
    branches: UInt8Array
    prior: Float32Array
    confidence: Float32Array
    latency_us: float
    monitor: Monitor | None = field(default=None, repr=False)

    def stats(self) -> Stats | None:
        """What the cascade's monitor has seen up to now, later decisions included; None without a monitor."""
        return None if self.monitor is None else self.monitor.stats()
