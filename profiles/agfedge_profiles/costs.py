"""What a cascade costs an input, relative to the heavy expert: three estimates, each by its own name.

* `mixture`: the estimate of Qian et al., arXiv:2603.12354. It charges the light expert only for inputs that it keeps.
* `sequential`: light first, for every input, then heavy for those that are escalated.
* `expected`: what this runtime does: the prior for every input, light for those that it does not escalate early, heavy
  for every escalated input, and the runtime's own time.

Where both experts share a trunk, every input pays it once, and the experts' costs are those of what comes after it.
"""

from __future__ import annotations

from dataclasses import dataclass

from agfedge_runtime.bundle.layout import Costs


@dataclass(frozen=True)
class Rates:
    """Shares of inputs that reach the heavy expert.

    Attributes:
        early: escalated by the prior, without a light pass.
        late: escalated after the light pass, by its confidence.
    """

    early: float
    late: float

    @property
    def heavy(self) -> float:
        """Share of inputs that the heavy expert answers."""
        return self.early + self.late


def mixture(rates: Rates, costs: Costs) -> float:
    """c_trunk + p_heavy * c_heavy + (1 - p_heavy) * c_light."""
    return costs.trunk + rates.heavy * costs.heavy + (1 - rates.heavy) * costs.light


def sequential(rates: Rates, costs: Costs) -> float:
    """c_trunk + c_light + p_heavy * c_heavy."""
    return costs.trunk + costs.light + rates.heavy * costs.heavy


def expected(rates: Rates, costs: Costs) -> float:
    """c_trunk + c_prior + (1 - p_early) * c_light + (p_early + p_late) * c_heavy + overhead."""
    passes = (1 - rates.early) * costs.light + rates.heavy * costs.heavy
    return costs.trunk + costs.prior + passes + costs.overhead


def mixture_to_expected(rates: Rates, costs: Costs) -> dict[str, float]:
    """Returns the terms that `expected` has and `mixture` leaves out; they add up to their difference."""
    return {
        "light passes of late escalations": rates.late * costs.light,
        "prior": costs.prior,
        "runtime overhead": costs.overhead,
    }
