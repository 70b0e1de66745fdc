"""The cascade beside its rivals, on rows that neither chose nor certified anything."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from agfedge.base.statistics import Share, share_of
from agfedge.router.choice import prior_values
from agfedge.router.confidence import Measure, confidence_of
from agfedge.router.evidence import Evidence, check_rows
from agfedge.router.router import choose_router
from agfedge_profiles import PassCosts, Rates, expected, mixture, sequential

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from agfedge.router.evidence import Rows
    from agfedge.router.router import Calibration


@dataclass(frozen=True)
class Rival:
    """One way to answer, on the test rows.

    Attributes:
        name: what it is.
        accuracy: with its 95% Wilson interval.
        early: share of inputs that skip the light expert.
        late: share that the heavy expert answers after the light one.
        mixture: the paper's estimate of its cost, relative to the heavy expert.
        sequential: light first for every input.
        expected: as this runtime would run it.
    """

    name: str
    accuracy: Share
    early: Share
    late: Share
    mixture: float
    sequential: float
    expected: float


def rivals(
    found: Calibration, evidence: Evidence, test: Rows, costs: PassCosts, prior_cost: float = 0.0, seed: int = 0
) -> tuple[Rival, ...]:
    """Compares a router with its rivals.

    * random: each input is escalated with the chance with which ours escalates, after the light expert.
    * paper: the cascade of arXiv:2603.12354, by greatest probability alone, its threshold certified as ours.
    * oracle: escalates exactly where the light expert is wrong and the heavy one right; no router can be better at that
      cost.

    Args:
        found: the router.
        evidence: what chose and certified it; the paper's threshold comes from the same.
        test: rows that it has not seen.
        costs: of a pass, without a prior.
        prior_cost: of the chosen prior.
        seed: of the random rival.

    Raises:
        InputError: the test rows do not fit together.
    """
    check_rows(test, "test")
    nobody = np.zeros(len(test), dtype=bool)
    early, late = routes(found, test)
    bounds = found.guarantee
    paper = choose_router(
        replace(evidence, fitting=_bare(evidence.fitting), certifying=_bare(evidence.certifying), prior_costs={}),
        costs,
        bounds.epsilon,
        bounds.delta,
        seed,
        ("max_probability",),
        (1.0,),
        judge=False,
    )
    chance = float((early | late).mean())
    drawn = np.random.default_rng(seed).uniform(size=len(test)) < chance
    charged = replace(costs, prior=prior_cost if found.prior is not None else 0.0)
    rows = [
        _row("random routing at our rate", test, nobody, drawn, costs),
        _row("confidence only (the paper's)", test, *routes(paper, test), costs),
        _row("oracle", test, nobody, test.heavy_right & ~test.light_right, costs),
        _row("ours", test, early, late, charged),
    ]
    alone = [_alone("heavy alone", test.heavy_right, 1.0), _alone("light alone", test.light_right, _whole(costs))]
    return (*alone, *rows)


def routes(found: Calibration, rows: Rows) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Returns what a router escalates early and late, (N,) each."""
    early = np.zeros(len(rows), dtype=bool)
    if found.guarantee.threshold > 1:
        return ~early, early  # the light expert is never asked
    if found.prior is not None:
        early = prior_values(rows, found.prior.kind, found.probe) > found.prior.threshold
    confidence = confidence_of(rows.light, Measure(found.confidence, found.temperature, found.energy))
    return early, ~early & (confidence < found.guarantee.threshold)


def _bare(rows: Rows) -> Rows:
    return replace(rows, priors={}, features=None)


def _whole(costs: PassCosts) -> float:
    return costs.trunk + costs.light


def _row(name: str, test: Rows, early: NDArray[np.bool_], late: NDArray[np.bool_], costs: PassCosts) -> Rival:
    right = np.where(early | late, test.heavy_right, test.light_right)
    rates = Rates(float(early.mean()), float(late.mean()))
    shares = (share_of(right), share_of(early), share_of(late))
    return Rival(name, *shares, mixture(rates, costs), sequential(rates, costs), expected(rates, costs))


def _alone(name: str, right: NDArray[np.bool_], cost: float) -> Rival:
    nobody = share_of(np.zeros(len(right), dtype=bool))
    return Rival(name, share_of(right), nobody, nobody, cost, cost, cost)


def rival_table(found: tuple[Rival, ...]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Returns headers and rows of the table for people; costs are relative to the heavy expert."""
    headers = ("router", "accuracy % (95% interval)", "early %", "late %", "mixture", "sequential", "expected")
    rows = [
        (
            each.name,
            f"{100 * each.accuracy.value:.2f} ({100 * each.accuracy.low:.1f} to {100 * each.accuracy.high:.1f})",
            f"{100 * each.early.value:.1f}",
            f"{100 * each.late.value:.1f}",
            *(f"{cost:.3f}" for cost in (each.mixture, each.sequential, each.expected)),
        )
        for each in found
    ]
    return headers, rows
