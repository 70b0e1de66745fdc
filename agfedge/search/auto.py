"""Where the experts should part, for one amount of pruning: a few cuts are tried with short recoveries."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from agfedge.calibrate import choose_estimate
from agfedge.experts import experts_of
from agfedge.light import prune_light, recover_light
from agfedge.search.candidates import NONE, auto_cuts
from agfedge_export.split import trunk_cuts

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from agfedge.allocate import AllocationRequest
    from agfedge.data import Arrays
    from agfedge.distributed import Team
    from agfedge.recover import Recovery
    from agfedge.scores import Scores
    from agfedge.subject import Subject
    from agfedge_export.split import Cut

# The short recoveries take this part of the epochs that were asked for, one at least.
PILOT = 10


@dataclass(frozen=True)
class TrunkTrial:
    """One place to part, tried.

    Attributes:
        trunk: the stage of the cut, "none" for no trunk.
        expected: expected cost after a short recovery, by multiply-accumulates, relative to the heavy expert.
    """

    trunk: str
    expected: float


@dataclass(frozen=True)
class TrunkChoice:
    """How light experts are made and judged while a place to part is chosen.

    Attributes:
        scores: of the heavy expert's channels.
        amount: how much stays.
        recovery: the whole fine-tuning, of which a part is done.
        fitting: raw inputs that choose.
        certifying: how many rows will certify.
        epsilon: bound on the net risk.
        delta: probability with which it may fail.
        exclude: names or globs of groups that stay whole.
        per_layer: TOML file with other amounts, or None.
    """

    scores: Scores
    amount: AllocationRequest
    recovery: Recovery
    fitting: Arrays
    certifying: int
    epsilon: float
    delta: float
    exclude: Sequence[str] = ()
    per_layer: Path | None = None


def choose_trunk(
    subject: Subject, how: TrunkChoice, team: Team | None = None
) -> tuple[Cut | None, tuple[TrunkTrial, ...]]:
    """Tries no trunk and the cuts of `auto_cuts`; returns the cheapest and every trial. Equal costs share nothing.

    Every process of a team trains along, and comes to the same choice.

    Raises:
        AgfedgeError: a light expert cannot be made.
    """
    heavy, recovery = subject.exported.model, how.recovery
    pilot = replace(recovery, epochs=min(recovery.epochs, max(1, recovery.epochs // PILOT)))
    cuts: list[Cut | None] = [None, *auto_cuts(trunk_cuts(heavy))]
    trials = []
    for cut in cuts:
        pruned = prune_light(subject, how.scores, how.amount, cut, how.exclude, how.per_layer, recovery.seed)
        light = recover_light(subject, pruned, pilot, None, team, cut)
        experts = experts_of(light.model, heavy, subject.preprocessing, cut)
        rows = experts.rows(how.fitting)
        charges = experts.prior_costs(rows, how.fitting.x.shape[1:])
        bounds = (how.certifying, how.epsilon, how.delta)
        found = choose_estimate(rows, experts.macs, charges, *bounds, recovery.seed)
        trials.append(TrunkTrial(NONE if cut is None else cut.stage or cut.node, float(found.cost.mean())))
    cheapest = min(range(len(cuts)), key=lambda place: (trials[place].expected, place))
    return cuts[cheapest], tuple(trials)
