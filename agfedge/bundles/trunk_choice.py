"""`--share-trunk auto`: where two experts should part. A few places are tried, and the cheapest cascade is taken."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from agfedge.bundles.experts import experts_of
from agfedge.router import choose_estimate
from agfedge_export.trunk.cuts import trunk_cuts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import onnx

    from agfedge.data import Arrays
    from agfedge.router import Bound
    from agfedge.subject.subject import Subject
    from agfedge_export.trunk.cuts import Cut

NONE, AUTO = "none", "auto"
# Shares of the heavy expert's multiply-accumulates that a trunk is looked for at. A larger trunk saves the heavy pass
# more, but the light expert keeps it whole: it pays where few inputs are easy.
SHARES = (0.15, 0.35)
# What has less is no trunk, what has more is nearly everything.
LEAST, MOST = 0.03, 0.7


@dataclass(frozen=True)
class TrunkTrial:
    """One place to part, tried.

    Attributes:
        trunk: the stage of the cut, "none" for no trunk.
        expected: expected cost by multiply-accumulates, relative to the heavy expert.
    """

    trunk: str
    expected: float


@dataclass(frozen=True)
class Judge:
    """What places are judged by.

    Attributes:
        fitting: raw inputs that choose the router too.
        certifying: how many rows will certify it.
        bound: that it will be certified for.
        seed: of what is drawn.
    """

    fitting: Arrays
    certifying: int
    bound: Bound
    seed: int


def place_of(cut: Cut | None) -> str:
    """Returns a cut in a word, "none" without one."""
    return NONE if cut is None else cut.stage or cut.node


def auto_cuts(possible: Sequence[Cut]) -> list[Cut]:
    """Returns a few cuts worth trying: the end of a stage nearest to each of `SHARES`, each once.

    The ends of the network's outermost stages are preferred; where parameters have no names that tell, any cut is an
    end.
    """
    ends: dict[str, Cut] = {}
    for cut in possible:
        if LEAST <= cut.share <= MOST:
            ends[cut.stage or cut.node] = cut
    outer = [cut for stage, cut in ends.items() if cut.stage and "." not in stage]
    choice = outer or list(ends.values())
    return list(dict.fromkeys(min(choice, key=lambda cut: abs(cut.share - share)) for share in SHARES if choice))


def choose_trunk(
    subject: Subject, make: Callable[[Cut | None], onnx.ModelProto | None], judge: Judge
) -> tuple[Cut | None, tuple[TrunkTrial, ...]]:
    """Tries no trunk and the cuts of `auto_cuts`.

    Args:
        subject: the heavy expert and its data.
        make: makes a light expert that parts from the heavy one at a cut, for a trial; None where there is none.
        judge: what is compared on.

    Returns:
        The cut of the cheapest cascade, no cut where costs are equal; and every trial.

    Raises:
        AgfedgeError: a light expert cannot be made.
    """
    heavy = subject.exported.model
    tried: list[tuple[Cut | None, TrunkTrial]] = []
    for cut in (None, *auto_cuts(trunk_cuts(heavy))):
        light = make(cut)
        if light is None:
            continue
        experts = experts_of(light, heavy, subject.preprocessing, cut)
        rows = experts.answers(judge.fitting)
        charges = experts.prior_costs(rows, judge.fitting.x.shape[1:])
        estimate = choose_estimate(rows, experts.macs, charges, judge.certifying, judge.bound, judge.seed)
        tried.append((cut, TrunkTrial(place_of(cut), float(estimate.cost.mean()))))
    best = min(tried, key=lambda trial: trial[1].expected)[0]
    return best, tuple(trial for _, trial in tried)
