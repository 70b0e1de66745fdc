"""Measured minus expected mean latency of the cascade, split into named terms that add up.

Over the n decisions i of one run, with the branch of each, let

* T_i, P_i, L_i, H_i be the passes measured alone in the same run (trunk, prior, light and heavy expert, each without
  what comes before it; `passes_of`), and T, P, L, H their means;
* t_i, p_i, l_i, h_i the same stages inside the cascade's call, 0 where they did not run, and m_i the whole call;
* e, r the shares of this run's decisions that were escalated early and late, and e0, r0 the shares on the calibration
  split, which the bundle's manifest holds: what the bundle promised.

    expected = T + P + (1 - e0) * L + (e0 + r0) * H
    measured = mean(m_i)

    rate              = -(e - e0) * L + ((e + r) - (e0 + r0)) * H
    trunk             = mean(t_i - T_i)                              where the experts share one
    prior             = mean(p_i - P_i)                              where decisions ask for one
    light             = mean(l_i) - (1 - e) * L
    heavy             = mean(h_i) - (e + r) * H
    decision overhead = mean(m_i - t_i - p_i - l_i - h_i)            what `expected` does not charge

    measured - expected = rate + trunk + prior + light + heavy + decision overhead

Transfers are part of the stages' times as the host sees them. Where the device's own clock tells them (``copy_in`` and
``copy_out``), they are taken out of the stages' terms and stand apart: with c_i what decision i copied, k the mean copy
of an input to the device, and o_s the mean copy of the answers of stage s from it,

    transfers         = mean(c_i) - [ (k + o_prior) + (1 - e) * (k + o_light) + (e + r) * (k + o_heavy) ]

since each pass alone moves the input anew, and a decision moves it once; that a copy takes as long alone as it does
inside is assumed. With a trunk the passes alone copy what those inside do, and the term is 0. Where no device's clock
tells, `transfers` is 0 and says so, and the stages' terms hold them. A trunk that computes the prior in the same run is
compared with both.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from agfedge.account.costs import passes_of
from agfedge.account.latency import overhead_us
from agfedge.base.statistics import Estimate, mean_by, mean_of
from agfedge_profiles import Rates, expected
from agfedge_runtime import Branch
from agfedge_runtime.engines.protocol import STAGES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from agfedge.account.costs import Passes
    from agfedge_runtime.bundle.manifest import Manifest
    from agfedge_runtime.profile.samples import Samples

    Times = NDArray[np.float64]

# Parts of a stage by the device's clock that are transfers: in, then out.
_COPIES = (".copy_in", ".copy_out")


@dataclass(frozen=True)
class Term:
    """One reason why the measured mean is not the expected one.

    Attributes:
        name: "rate", "trunk", "prior", "light", "heavy", "transfers" or "decision overhead".
        us: microseconds a decision; above 0 where the cascade takes longer for it.
        low_us: lower end of its 95% bootstrap interval; None where there are too few decisions for one.
        high_us: upper end.
        samples: the series of the samples that it comes from.
        about: what it is, in words.
    """

    name: str
    us: float
    low_us: float | None
    high_us: float | None
    samples: tuple[str, ...]
    about: str


@dataclass(frozen=True)
class Reconciliation:
    """`expected_us` plus every term is `measured_us`.

    Attributes:
        measured_us: mean latency of the cascade's call.
        expected_us: from the passes measured alone in this run, at the rates that the bundle promised.
        terms: in the order of a waterfall.
        rates: early and late, of this run.
        promised: early and late, of the calibration split; this run's own where the bundle does not say.
        promised_us: by the bundle's own costs (relative to the heavy expert, from multiply-accumulates or a latency,
            as its manifest says) at those rates, times the heavy expert's mean in this run.
        promised_unit: of those costs, "macs" or "latency".
    """

    measured_us: float
    expected_us: float
    terms: tuple[Term, ...]
    rates: Rates
    promised: Rates
    promised_us: float
    promised_unit: str

    @property
    def explanation(self) -> str:
        """One sentence: how far off, and the largest term."""
        gap = self.measured_us - self.expected_us
        largest = max(self.terms, key=lambda term: abs(term.us))
        side = "above" if gap >= 0 else "below"
        return (
            f"measured is {abs(gap):,.1f} us ({abs(gap) / self.expected_us:.1%}) {side} expected; the largest term is "
            f"{largest.name} ({largest.us:+,.1f} us): {largest.about}"
        )


def reconcile(samples: Samples, manifest: Manifest) -> Reconciliation | None:
    """Splits measured minus expected; None where the run did not record the cascade's stages.

    Args:
        samples: of one run.
        manifest: of the bundle in the precision that ran.
    """
    if not samples.stage_us:
        return None
    passes = passes_of(samples)
    promised = promised_rates(manifest) or passes.rates
    heavy_us = float(samples.heavy_us.mean())
    costs = manifest.costs
    if np.isnan(samples.prior).all():
        costs = replace(costs, prior=0.0)
    return Reconciliation(
        measured_us=float(samples.cascade_us.mean()),
        expected_us=passes.expected_us(promised),
        terms=_terms(samples, passes, promised),
        rates=passes.rates,
        promised=promised,
        promised_us=expected(promised, costs) * heavy_us,
        promised_unit=manifest.costs.unit,
    )


def promised_rates(manifest: Manifest) -> Rates | None:
    """Returns the rates on the calibration split; None where the manifest does not say."""
    router = manifest.router
    if not router.asks_light:
        return Rates(1.0, 0.0)
    return None if router.reference is None else Rates(router.reference.early, router.reference.late)


def _terms(samples: Samples, passes: Passes, promised: Rates) -> tuple[Term, ...]:
    escalated = (samples.branches != Branch.LIGHT).astype(np.float64)
    asked = (samples.branches != Branch.EARLY).astype(np.float64)
    always = np.ones(len(samples))
    ran = {"trunk": always, "prior": always, "light": asked, "heavy": escalated}
    about = "escalations beside those of the calibration split"
    rate = (asked - (1 - promised.early)) * passes.light.mean() + (escalated - promised.heavy) * passes.heavy.mean()
    # An input that comes again goes the same way: how the rate would vary is told by inputs.
    terms = [_term("rate", mean_by(rate, samples.input_index), ("branches", "light_us", "heavy_us"), about)]
    copied = _extra_copies(samples, ran)
    for stage, alone in _alone(samples, passes).items():
        inside = np.nan_to_num(samples.stage_us.get(stage, np.zeros(len(samples))))
        mean = float(alone.mean())
        # The last part has a mean of 0: it lets the interval know the noise of the mean alone.
        extra = inside - copied[stage] - ran[stage] * mean - ran[stage].mean() * (alone - mean)
        if stage in ("light", "heavy") or extra.any():
            series = (f"stage_us.{stage}", f"{stage}_us")
            terms.append(
                _term(stage, mean_of(extra), series, f"the {stage} within the cascade beside the {stage} alone")
            )
    about = "copies to and from the device within the cascade beside those of the passes alone"
    copies = tuple(sorted(key for key in samples.device_us if key.endswith(_COPIES)))
    moved = np.sum(list(copied.values()), axis=0)
    terms.append(_term("transfers", mean_of(moved), copies, about if copies else "not told apart by this backend"))
    whole = ("cascade_us", *(f"stage_us.{stage}" for stage in STAGES if stage in samples.stage_us))
    beside = "what a decision takes beside its stages"
    terms.append(_term("decision overhead", mean_of(overhead_us(samples)), whole, beside))
    return tuple(terms)


def _alone(samples: Samples, passes: Passes) -> dict[str, Times]:
    """Returns what each stage is compared with: a trunk that computed the prior along, with both."""
    own_prior = not np.isnan(samples.stage_us.get("prior", np.full(1, np.nan))).all()
    has_trunk = not np.isnan(samples.trunk_us).all()
    along = has_trunk and not own_prior
    return {
        "trunk": passes.trunk + passes.prior if along else passes.trunk,
        "prior": np.zeros(len(samples)) if along else passes.prior,
        "light": passes.light,
        "heavy": passes.heavy,
    }


def _extra_copies(samples: Samples, ran: Mapping[str, Times]) -> dict[str, Times]:
    """Returns by stage what each decision copied beyond the passes alone, float64 (n,)."""
    none = np.zeros(len(samples))
    copies = {stage: [samples.device_us.get(f"{stage}{part}") for part in _COPIES] for stage in STAGES}
    ways_in = [way_in for way_in, _ in copies.values() if way_in is not None]
    per_input = float(np.nan_to_num(ways_in).sum(axis=0).mean()) if ways_in else 0.0
    has_trunk = not np.isnan(samples.trunk_us).all()
    extra: dict[str, Times] = {}
    for stage, (way_in, way_out) in copies.items():
        if way_in is None or way_out is None or np.isnan(way_in).all():
            extra[stage] = none
            continue
        usual = float(np.nanmean(way_in)) if has_trunk else per_input
        inside = np.nan_to_num(way_in) + np.nan_to_num(way_out)
        extra[stage] = inside - ran[stage] * (usual + float(np.nanmean(way_out)))
    return extra


def _term(name: str, mean: Estimate, samples: tuple[str, ...], about: str) -> Term:
    return Term(name, mean.value, *mean.interval, samples, about)
