"""The four costs, from the passes as this run measured them: `mixture`, `sequential`, `expected`, `measured`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from agfedge.base.statistics import Estimate, ratio_over_time
from agfedge_profiles import Rates, expected, mixture, mixture_to_expected, sequential
from agfedge_runtime import Branch
from agfedge_runtime.bundle.layout import Costs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from agfedge_runtime.profile.samples import Samples


@dataclass(frozen=True)
class FourCosts:
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
    measured: Estimate
    terms: dict[str, float]

    @property
    def explanation(self) -> str:
        """One sentence: which term explains the difference between the paper's estimate and the measurement."""
        gap = self.measured.value - self.mixture
        where = f"measured is {abs(gap):.3f} {'above' if gap >= 0 else 'below'} mixture"
        name, value = max(self.terms.items(), key=lambda term: abs(term[1]))
        noise = "; it is within this run's noise" if self.measured.low <= self.mixture <= self.measured.high else ""
        return f"{where}; the largest term is {name} ({value:+.3f}), which mixture does not charge{noise}"


def costs_of(samples: Samples) -> FourCosts:
    """Computes the four costs from raw decisions."""
    passes = passes_of(samples)
    rates, costs = passes.rates, relative(passes)
    measured = ratio_over_time(samples.cascade_us, samples.heavy_us)
    terms = mixture_to_expected(rates, costs)
    terms["runtime overhead"] = measured.value - expected(rates, costs)
    return FourCosts(mixture(rates, costs), sequential(rates, costs), expected(rates, costs), measured, terms)


def relative(passes: Passes) -> Costs:
    """Returns what the passes cost relative to the whole heavy expert."""
    whole = float((passes.trunk + passes.heavy).mean())
    trunk, prior, light = (float(times.mean()) / whole for times in (passes.trunk, passes.prior, passes.light))
    return Costs(light, prior, trunk=trunk, heavy=1 - trunk)


@dataclass(frozen=True, eq=False)
class Passes:
    """What each part of the cascade takes alone, without what comes before it; float64 (n,), microseconds.

    Attributes:
        trunk: of what both experts share; 0 where they share nothing.
        prior: of the prior; 0 where the cascade did not ask for it.
        light: of the light expert, after the trunk.
        heavy: of the heavy expert, after the trunk.
        rates: shares of this run's decisions that were escalated.
    """

    trunk: NDArray[np.float64]
    prior: NDArray[np.float64]
    light: NDArray[np.float64]
    heavy: NDArray[np.float64]
    rates: Rates

    def expected_us(self, rates: Rates) -> float:
        """T + P + (1 - p_early) * L + (p_early + p_late) * H, of the means of the four, in microseconds."""
        trunk, prior, light, heavy = (float(times.mean()) for times in (self.trunk, self.prior, self.light, self.heavy))
        return trunk + prior + (1 - rates.early) * light + rates.heavy * heavy


def passes_of(samples: Samples) -> Passes:
    """Takes the passes apart.

    With a trunk, the times of the prior and of both experts hold the trunk's, which runs once. The prior is charged
    only where the cascade computed it.
    """
    trunk = np.nan_to_num(samples.trunk_us)
    asked = ~np.isnan(samples.prior)
    prior = np.where(asked, np.nan_to_num(samples.prior_us) - trunk, 0.0)
    early, late = samples.branches == Branch.EARLY, samples.branches == Branch.LATE
    rates = Rates(float(early.mean()), float(late.mean()))
    return Passes(trunk, prior, samples.light_us - trunk, samples.heavy_us - trunk, rates)
