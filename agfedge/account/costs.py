"""The four costs, from the passes as this run measured them: `mixture`, `sequential`, `expected`, `measured`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from agfedge.account.passes import Passes, passes_of
from agfedge.base.statistics import Estimate, ratio_over_time
from agfedge_profiles import PassCosts, expected, mixture, mixture_to_expected, sequential

if TYPE_CHECKING:
    from agfedge_runtime.profile.samples import Samples


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


def costs_of(samples: Samples) -> Costs:
    """Computes the four costs from raw decisions."""
    passes = passes_of(samples)
    rates, costs = passes.rates, relative(passes)
    measured = ratio_over_time(samples.cascade_us, samples.heavy_us)
    terms = mixture_to_expected(rates, costs)
    terms["runtime overhead"] = measured.value - expected(rates, costs)
    return Costs(mixture(rates, costs), sequential(rates, costs), expected(rates, costs), measured, terms)


def relative(passes: Passes) -> PassCosts:
    """Returns what the passes cost relative to the whole heavy expert."""
    whole = float((passes.trunk + passes.heavy).mean())
    trunk, prior, light = (float(each.mean()) / whole for each in (passes.trunk, passes.prior, passes.light))
    return PassCosts(light, prior, trunk=trunk, heavy=1 - trunk)
