"""The measured account of a bundle: latency, accuracy, escalation, and the four costs side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from agfedge.statistics import RatioOfMeans, Share, percentile, ratio_of_means, share_of
from agfedge_profiles import PassCosts, Rates, expected, mixture, mixture_to_expected, sequential
from agfedge_runtime import Branch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from agfedge_runtime.samples import Samples


@dataclass(frozen=True)
class Latency:
    """Microseconds a decision; a percentile is None below its sample floor."""

    mean_us: float
    p50_us: float | None
    p90_us: float | None
    p99_us: float | None


@dataclass(frozen=True)
class ExpertAccount:
    """One row of the table: an expert alone, or the cascade."""

    latency: Latency
    accuracy: Share | None


@dataclass(frozen=True)
class Costs:
    """Costs of an input relative to the heavy expert's mean latency, all from the same interleaved run.

    Attributes:
        mixture: the estimate of arXiv:2603.12354, which charges the light expert only for what it keeps.
        sequential: light first for every input.
        expected: what this runtime does, from the measured passes.
        measured: mean latency of the cascade over mean latency of the heavy expert, with its interval.
        terms: what `measured` has and `mixture` leaves out; they add up to their difference.
    """

    mixture: float
    sequential: float
    expected: float
    measured: RatioOfMeans
    terms: dict[str, float]

    @property
    def explanation(self) -> str:
        """One sentence: which term explains the difference between the paper's estimate and the measurement."""
        gap = self.measured.value - self.mixture
        where = f"measured is {abs(gap):.3f} {'above' if gap >= 0 else 'below'} mixture"
        name, value = max(self.terms.items(), key=lambda term: abs(term[1]))
        noise = "; it is within this run's noise" if self.measured.low <= self.mixture <= self.measured.high else ""
        return f"{where}; the largest term is {name} ({value:+.3f}), which mixture does not charge{noise}"


@dataclass(frozen=True)
class Account:
    """What a bundle costs and answers on one machine."""

    bundle_digest: str
    backend: str
    threads: int
    decisions: int
    heavy: ExpertAccount
    light: ExpertAccount
    cascade: ExpertAccount
    early: Share
    late: Share
    costs: Costs
    environment: dict[str, str | int]


def account(samples: Samples, labels: NDArray[np.int64] | None) -> Account:
    """Derives the account from raw samples.

    Args:
        samples: of one interleaved run.
        labels: the true label of each input, by `samples.input_index`; None where they are unknown.
    """
    early, late = samples.branches == Branch.EARLY, samples.branches == Branch.LATE
    return Account(
        samples.bundle_digest,
        samples.backend,
        samples.threads,
        len(samples),
        _row(samples, samples.heavy_us, samples.heavy_labels, labels),
        _row(samples, samples.light_us, samples.light_labels, labels),
        _row(samples, samples.cascade_us, samples.labels, labels),
        share_of(early),
        share_of(late),
        costs_of(samples),
        dict(samples.environment),
    )


def costs_of(samples: Samples) -> Costs:
    """Computes the four costs from raw decisions."""
    heavy = float(samples.heavy_us.mean())
    rates = Rates(float((samples.branches == Branch.EARLY).mean()), float((samples.branches == Branch.LATE).mean()))
    # The prior is charged only where the cascade computed it.
    asked = ~np.isnan(samples.prior)
    # With a trunk, the prior's time and both experts' hold the trunk's, which runs once.
    trunk_us = np.nan_to_num(samples.trunk_us)
    trunk = float(trunk_us.mean()) / heavy
    prior = float(np.where(asked, np.nan_to_num(samples.prior_us) - trunk_us, 0.0).mean())
    light = float(samples.light_us.mean()) / heavy - trunk
    passes = PassCosts(light, prior / heavy, trunk=trunk, heavy=1 - trunk)
    measured = ratio_of_means(samples.cascade_us, samples.heavy_us)
    terms = mixture_to_expected(rates, passes)
    terms["runtime overhead"] = measured.value - expected(rates, passes)
    return Costs(mixture(rates, passes), sequential(rates, passes), expected(rates, passes), measured, terms)


def _row(
    samples: Samples, times: NDArray[np.float64], answers: NDArray[np.int64], labels: NDArray[np.int64] | None
) -> ExpertAccount:
    latency = Latency(float(times.mean()), percentile(times, 50), percentile(times, 90), percentile(times, 99))
    if labels is None:
        return ExpertAccount(latency, None)
    # An input that was measured twice counts once.
    _, first = np.unique(samples.input_index, return_index=True)
    return ExpertAccount(latency, share_of(answers[first] == labels[samples.input_index[first]]))
