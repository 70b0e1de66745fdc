"""The cascade beside its rivals, on rows that neither chose nor certified anything."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from agfedge.base.statistics import Share, share_of
from agfedge.router.answers import Evidence, check_rows
from agfedge.router.calibration import choose_router
from agfedge.router.guarantee import Bound
from agfedge.router.priors import prior_charge
from agfedge_profiles import Rates, expected, mixture, sequential
from agfedge_runtime.bundle.layout import Costs
from agfedge_runtime.bundle.router import Branch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from agfedge.router.answers import Answers
    from agfedge.router.calibration import Calibration
    from agfedge_runtime.arrays import UInt8Array


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
    calibration: Calibration, evidence: Evidence, test: Answers, costs: Costs, seed: int = 0
) -> tuple[Rival, ...]:
    """Compares a router with its rivals.

    * random: each input is escalated with the chance with which ours escalates, after the light expert.
    * paper: the cascade of arXiv:2603.12354, by greatest probability alone, its threshold certified as ours.
    * oracle: escalates exactly where the light expert is wrong and the heavy one right; no router can be better at that
      cost.

    Args:
        calibration: the router.
        evidence: what chose and certified it; the paper's threshold comes from the same.
        test: rows that it has not seen.
        costs: of a pass, without a prior.
        seed: of the random rival.

    Raises:
        InputError: the test rows do not fit together.
    """
    check_rows(test, "test")
    guarantee, prior = calibration.router.guarantee, calibration.prior
    bare = replace(evidence, fitting=_bare(evidence.fitting), certifying=_bare(evidence.certifying), prior_costs={})
    bound = Bound(guarantee.epsilon, guarantee.delta)
    paper = choose_router(bare, costs, bound, seed, ("max_probability",), (1.0,), judge=False)
    ours = calibration.route(test)
    chance = float((ours != Branch.LIGHT).mean())
    drawn = np.random.default_rng(seed).uniform(size=len(test)) < chance
    charged = replace(costs, prior=0.0 if prior is None else prior_charge(prior.kind, evidence.prior_costs))
    return (
        _alone("heavy alone", test.heavy_right, 1.0),
        _alone("light alone", test.light_right, costs.trunk + costs.light),
        _row("random routing at our rate", test, _late(drawn), costs),
        _row("confidence only (the paper's)", test, paper.route(_bare(test)), costs),
        _row("oracle", test, _late(test.heavy_right & ~test.light_right), costs),
        _row("ours", test, ours, charged),
    )


def _bare(rows: Answers) -> Answers:
    """Rows of logits alone, of which the greatest probability follows."""
    return replace(rows, priors={}, features=None, confidence=None)


def _late(escalated: NDArray[np.bool_]) -> UInt8Array:
    return np.where(escalated, Branch.LATE, Branch.LIGHT).astype(np.uint8)


def _row(name: str, test: Answers, branches: UInt8Array, costs: Costs) -> Rival:
    early, late = branches == Branch.EARLY, branches == Branch.LATE
    right = np.where(early | late, test.heavy_right, test.light_right)
    rates = Rates(float(early.mean()), float(late.mean()))
    shares = (share_of(right), share_of(early), share_of(late))
    return Rival(name, *shares, mixture(rates, costs), sequential(rates, costs), expected(rates, costs))


def _alone(name: str, right: NDArray[np.bool_], cost: float) -> Rival:
    nobody = share_of(np.zeros(len(right), dtype=bool))
    return Rival(name, share_of(right), nobody, nobody, cost, cost, cost)


def rival_table(compared: tuple[Rival, ...]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Returns headers and rows of the table for people; costs are relative to the heavy expert."""
    headers = ("router", "accuracy % (95% interval)", "early %", "late %", "mixture", "sequential", "expected")
    rows = [
        (
            rival.name,
            f"{100 * rival.accuracy.value:.2f} ({100 * rival.accuracy.low:.1f} to {100 * rival.accuracy.high:.1f})",
            f"{100 * rival.early.value:.1f}",
            f"{100 * rival.late.value:.1f}",
            *(f"{cost:.3f}" for cost in (rival.mixture, rival.sequential, rival.expected)),
        )
        for rival in compared
    ]
    return headers, rows
