"""Runs beside the single stream: inputs at a fixed rate, and several inputs a call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from agfedge.account.latency import Latency, latency_of
from agfedge.base.statistics import Share, share_of

if TYPE_CHECKING:
    from agfedge_runtime.profile.samples import BatchSamples, RateSamples


@dataclass(frozen=True)
class RateAccount:
    """Inputs at a fixed rate, as from a camera.

    Attributes:
        fps: inputs a second.
        queue: how many may wait.
        dropped: share of the inputs that came when so many waited.
        latency: from the scheduled arrival to the answer, of those that were served; None where none was.
        service: of the cascade's call alone.
    """

    fps: float
    queue: int
    dropped: Share
    latency: Latency | None
    service: Latency | None


@dataclass(frozen=True)
class BatchAccount:
    """Several inputs a call; microseconds are of the whole call.

    Attributes:
        size: inputs a call.
        cascade: of the cascade.
        light: of the light expert alone.
        heavy: of the heavy expert alone.
        inputs_per_s: what the cascade answers in a second.
    """

    size: int
    cascade: Latency | None
    light: Latency | None
    heavy: Latency | None
    inputs_per_s: float | None


def rate_account(rate: RateSamples) -> RateAccount | None:
    """Returns the account of a run at a fixed rate; None where no input came."""
    came = rate.dropped + len(rate.branches)
    if not came:
        return None
    dropped = share_of(np.arange(came) < rate.dropped)
    return RateAccount(rate.fps, rate.queue, dropped, latency_of(rate.latency_us), latency_of(rate.service_us))


def batch_account(batches: BatchSamples) -> BatchAccount:
    """Returns the account of calls with several inputs."""
    cascade = latency_of(batches.cascade_us)
    throughput = None if cascade is None or not cascade.mean_us else 1e6 * batches.size / cascade.mean_us
    return BatchAccount(batches.size, cascade, latency_of(batches.light_us), latency_of(batches.heavy_us), throughput)
