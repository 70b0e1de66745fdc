"""Latencies, summarised: of each branch and each engine apart, at a fixed rate, and of several inputs a call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from agfedge.account.costs import passes_of
from agfedge.base.statistics import Estimate, Share, exact, mean_of, percentile, share_of, variation
from agfedge_runtime import Branch
from agfedge_runtime.engines.protocol import STAGES

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from agfedge_runtime.profile.samples import BatchSamples, RateSamples, Samples


@dataclass(frozen=True)
class Latency:
    """Microseconds a decision, or a run of a stage.

    Attributes:
        count: samples.
        mean_us: their mean.
        low_us: lower end of the mean's 95% bootstrap interval; None where there are too few for one.
        high_us: upper end.
        p50_us: median.
        p90_us: 90th percentile, None below 64 samples.
        p99_us: 99th percentile, None below 662 samples.
        variation: coefficient of variation, standard deviation over mean; None below two samples.
    """

    count: int
    mean_us: float
    low_us: float | None
    high_us: float | None
    p50_us: float | None
    p90_us: float | None
    p99_us: float | None
    variation: float | None

    @property
    def mean(self) -> Estimate:
        """The mean with its interval."""
        if self.low_us is None or self.high_us is None:
            return exact(self.mean_us)
        return Estimate(self.mean_us, self.low_us, self.high_us)


def latency_of(times_us: NDArray[np.float64]) -> Latency | None:
    """Returns the summary of times (N,) in the order in which they were taken; None where there are none."""
    if not len(times_us):
        return None
    mean = mean_of(times_us)
    p50, p90, p99 = (percentile(times_us, percent) for percent in (50, 90, 99))
    return Latency(len(times_us), mean.value, *mean.interval, p50, p90, p99, variation(times_us))


# Of a router that neither asks a prior nor the light expert.
HEAVY_ONLY = "heavy only"
_PATHS = {
    Branch.EARLY: "prior to heavy",
    Branch.LIGHT: "light only",
    Branch.LATE: "light then heavy",
}


@dataclass(frozen=True)
class BranchAccount:
    """The decisions of one branch.

    Attributes:
        name: "early", "light" or "late".
        path: what they ran, for people.
        share: of all decisions, with its Wilson interval for so many distinct inputs.
        latency: of the cascade's call; None where there was no such decision.
    """

    name: str
    path: str
    share: Share
    latency: Latency | None


@dataclass(frozen=True)
class StageAccount:
    """One engine.

    Attributes:
        name: "trunk", "prior", "light" or "heavy".
        alone: a run of it by itself, without what comes before it (an expert after a trunk: less the trunk's time);
            None where it was not measured.
        inside: its runs within the cascade's calls, as the host sees them; None where they were not recorded.
        device: parts of `inside` by the device's own clock, such as "compute": mean microseconds a run; empty where
            the backend does not tell.
    """

    name: str
    alone: Latency | None
    inside: Latency | None
    device: Mapping[str, Latency]


def branches_of(samples: Samples) -> tuple[BranchAccount, ...]:
    """Returns the branches in the order early, light, late."""
    inputs = distinct_inputs(samples)
    paths = {**_PATHS, Branch.EARLY: HEAVY_ONLY} if np.isnan(samples.prior).all() else _PATHS
    return tuple(
        BranchAccount(branch.name.lower(), path, share_of(taken, inputs), latency_of(samples.cascade_us[taken]))
        for branch, path in paths.items()
        for taken in [samples.branches == branch]
    )


def distinct_inputs(samples: Samples) -> int:
    """Returns how many inputs there were: one that comes again goes the same way, and tells nothing new of shares."""
    return len(np.unique(samples.input_index))


def stages_of(samples: Samples) -> tuple[StageAccount, ...]:
    """Returns the stages that the bundle has, in the order in which they run."""
    passes = passes_of(samples)
    has_prior = ~np.isnan(samples.prior_us)
    alone: dict[str, NDArray[np.float64]] = {
        "trunk": _finite(samples.trunk_us),
        "prior": (samples.prior_us - passes.trunk)[has_prior],
        "light": passes.light,
        "heavy": passes.heavy,
    }
    stages = []
    for name in STAGES:
        inside = _finite(samples.stage_us.get(name, np.empty(0)))
        if len(alone[name]) or len(inside):
            stages.append(StageAccount(name, latency_of(alone[name]), latency_of(inside), _device(samples, name)))
    return tuple(stages)


def overhead_us(samples: Samples) -> NDArray[np.float64]:
    """Returns what each of the cascade's calls took beside its stages, float64 (n,); empty where none were recorded."""
    if not samples.stage_us:
        return np.empty(0)
    inside = [np.nan_to_num(samples.stage_us[stage]) for stage in STAGES if stage in samples.stage_us]
    rest: NDArray[np.float64] = samples.cascade_us - np.sum(inside, axis=0)
    return rest


def _device(samples: Samples, stage: str) -> dict[str, Latency]:
    parts = {}
    for key, times in samples.device_us.items():
        name, _, part = key.partition(".")
        latency = latency_of(_finite(times))
        if name == stage and latency is not None:
            parts[part] = latency
    return parts


def _finite(times: NDArray[np.float64]) -> NDArray[np.float64]:
    finite: NDArray[np.float64] = times[~np.isnan(times)]
    return finite


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


def rate_account(rate: RateSamples | None) -> RateAccount | None:
    """Returns the account of a run at a fixed rate; None where there was none, or no input came."""
    if rate is None:
        return None
    came = rate.dropped + len(rate.branches)
    if not came:
        return None
    dropped = share_of(np.arange(came) < rate.dropped)
    return RateAccount(rate.fps, rate.queue, dropped, latency_of(rate.latency_us), latency_of(rate.service_us))


def batch_account(batches: BatchSamples | None) -> BatchAccount | None:
    """Returns the account of calls with several inputs; None where there were none."""
    if batches is None:
        return None
    cascade = latency_of(batches.cascade_us)
    throughput = None if cascade is None or not cascade.mean_us else 1e6 * batches.size / cascade.mean_us
    return BatchAccount(batches.size, cascade, latency_of(batches.light_us), latency_of(batches.heavy_us), throughput)
