"""What speaks against a run: it is told before any of its numbers.

`invalid` runs do not say what the bundle costs on the device: it throttled, or the run was cut short, or was another
bundle's. `unstable` runs say it with more noise than usual. A `note` is what else must be known.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from agfedge.base.statistics import variation
from agfedge_runtime.engines.protocol import STAGES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from agfedge_runtime import Bundle
    from agfedge_runtime.profile.samples import Samples

INVALID, UNSTABLE, NOTE = "invalid", "unstable", "note"

# Of a stage by the device's own clock: beyond it trtexec calls the GPU's compute time unstable.
DEVICE_VARIATION = 0.025
# Of a stage as the host sees it: beyond a spread of 10% torch.utils.benchmark tells that it may be noise.
HOST_VARIATION = 0.10
# Between the medians of the first and of the last third of a run. The host's clock is steadier than that unless
# something changed; from the second on the run has no one latency to tell.
DRIFT, LARGE_DRIFT = 0.05, 0.10
# Fewer are not looked at for a drift: a third would be less than the 64 of a 90th percentile.
_DRIFT_SAMPLES = 3 * 64
# What a profile makes at least; MLPerf's single stream asks for 662 before it tells a 99th percentile.
FEWEST = 600
# A stage of a smaller share of the heavy expert's time moves no cost, and the clock's own grain makes it vary.
_SMALL = 0.05
# Problems in reading the device's state that are told one by one.
_PROBLEMS = 3


@dataclass(frozen=True)
class Doubt:
    """One line that speaks against a run.

    Attributes:
        grade: "invalid", "unstable" or "note".
        text: what was seen, what was expected, and what to do.
    """

    grade: str
    text: str


def findings_of(samples: Samples, bundle: Bundle | None) -> tuple[Doubt, ...]:
    """Returns what speaks against a run, the worst first.

    Args:
        samples: of the run.
        bundle: that it is taken for, or None.
    """
    doubts = [*_identity(samples, bundle), *_state(samples), *_drifts(samples), *_spreads(samples), *_served(samples)]
    order = (INVALID, UNSTABLE, NOTE)
    return tuple(sorted(doubts, key=lambda doubt: order.index(doubt.grade)))


def _identity(samples: Samples, bundle: Bundle | None) -> Iterator[Doubt]:
    if bundle is not None and samples.bundle_digest != bundle.digest:
        yield Doubt(
            INVALID,
            f"these samples are of bundle {samples.bundle_digest[:12]}, not of {bundle.digest[:12]}: what they are "
            "compared with here was promised by another one; profile this bundle",
        )
    if not samples.complete:
        yield Doubt(INVALID, f"the run was cut short after {len(samples)} decisions: measure again")
    if len(samples) < FEWEST:
        yield Doubt(UNSTABLE, f"{len(samples)} decisions are few: intervals are wide below {FEWEST}")


def _state(samples: Samples) -> Iterator[Doubt]:
    state = samples.state or {}
    reasons = state.get("invalid", ())
    for reason in reasons if isinstance(reasons, (list, tuple)) else ():
        yield Doubt(INVALID, str(reason))
    problems = state.get("problems", ())
    listed = list(problems) if isinstance(problems, (list, tuple)) else []
    for problem in listed[:_PROBLEMS]:
        yield Doubt(NOTE, f"the device's state: {problem}")
    if len(listed) > _PROBLEMS:
        yield Doubt(NOTE, f"the device's state: {len(listed) - _PROBLEMS} more such problems, which --out keeps")


def _drifts(samples: Samples) -> Iterator[Doubt]:
    """The heavy expert alone does the same work in every decision: what changes is the machine."""
    count = len(samples)
    if count < _DRIFT_SAMPLES:
        return
    third = count // 3
    first, last = (float(np.median(part)) for part in (samples.heavy_us[:third], samples.heavy_us[-third:]))
    change = last / first - 1 if first else 0.0
    if abs(change) < DRIFT:
        return
    cause = "it throttled, or other work came" if change > 0 else "its clocks rose, or other work ended"
    yield Doubt(
        INVALID if abs(change) >= LARGE_DRIFT else UNSTABLE,
        f"the heavy expert's median went from {first:,.1f} to {last:,.1f} us ({change:+.0%}) from the first to the "
        f"last third of the run, at most {DRIFT:.0%} was expected: {cause}; measure again on a machine at rest",
    )


def _spreads(samples: Samples) -> Iterator[Doubt]:
    floor = _SMALL * float(samples.heavy_us.mean())
    for stage in STAGES:
        alone = getattr(samples, f"{stage}_us")
        if np.isnan(alone).all() or np.nanmean(alone) < floor:
            continue
        series = {f"{stage} alone": alone, f"{stage} in the cascade": samples.stage_us.get(stage, alone)}
        yield from _spread(series, HOST_VARIATION, "other work on this machine?")
    for key, times in samples.device_us.items():
        if key.endswith(".compute"):
            yield from _spread({f"{key} by the device's clock": times}, DEVICE_VARIATION, "lock the clocks")


def _spread(series: Mapping[str, NDArray[np.float64]], limit: float, remedy: str) -> Iterator[Doubt]:
    """Tells of the series that varies most, where that is too much."""
    variations = {name: variation(times[~np.isnan(times)]) or 0.0 for name, times in series.items()}
    name = max(variations, key=lambda one: variations[one], default="")
    if name and variations[name] > limit:
        yield Doubt(
            UNSTABLE,
            f"{name} varies by {variations[name]:.1%} (standard deviation over mean), at most {limit:.1%} was "
            f"expected: {remedy}",
        )


def _served(samples: Samples) -> Iterator[Doubt]:
    rate = samples.rate
    if rate is not None and rate.dropped:
        came = rate.dropped + len(rate.branches)
        yield Doubt(
            NOTE,
            f"at {rate.fps:g} inputs a second {rate.dropped} of {came} were dropped: this is more than it can keep "
            "up with, and the latencies at that rate are of those that were served",
        )
