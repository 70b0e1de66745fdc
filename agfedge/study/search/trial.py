"""One candidate, tried: its light expert is made, its passes are measured, and its router is chosen on some rows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from agfedge.base.statistics import Estimate, share_of
from agfedge.bundles.experts import ExpertPair, experts_of
from agfedge.light.light import LightExpert, prune_light, recover_light, score_subject
from agfedge.recover import heavy_answers
from agfedge.router import choose_estimate
from agfedge.study.search.charges import charges_of
from agfedge.study.search.points import DONE, SearchPoint

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from agfedge.data import Arrays
    from agfedge.recover.lessons import HeavyOutputs
    from agfedge.router import Answers, RouterEstimate
    from agfedge.scores import Scores
    from agfedge.study.search.candidates import Candidate
    from agfedge.study.search.request import SearchRequest
    from agfedge.subject.subject import Subject
    from agfedge_runtime.bundle.layout import Costs


@dataclass(frozen=True)
class Tried:
    """A light expert before its recovery, and what a pass costs."""

    candidate: Candidate
    expert: LightExpert
    experts: ExpertPair
    costs: Costs

    @property
    def floor(self) -> float:
        """What the cascade costs if the light expert answers everything."""
        return self.costs.trunk + self.costs.light


@dataclass(frozen=True)
class CandidateTrial:
    """What candidates are tried with.

    Attributes:
        subject: the heavy expert and its data.
        request: how light experts are made and judged.
        choosing: raw inputs that choose among candidates.
        certifying: how many rows will certify the router of the one that is accepted.
    """

    subject: Subject
    request: SearchRequest
    choosing: Arrays
    certifying: int

    @cached_property
    def scores(self) -> Scores:
        """Of the heavy expert's channels, once for all candidates."""
        return score_subject(self.subject, self.request.score, self.request.seed)

    @cached_property
    def heavy_answers(self) -> HeavyOutputs:
        """On the training split, which all light experts learn from."""
        return heavy_answers(self.subject.module, self.subject.x, self.request.recovery)

    def pruned(self, candidate: Candidate, foreign: LightExpert | None = None, costs: Costs | None = None) -> Tried:
        """Makes a candidate's light expert, not yet recovered, and finds what its passes cost, unless that is given.

        Raises:
            AgfedgeError: the amount cannot be met, or the graph cannot be cut or run.
        """
        subject, request = self.subject, self.request
        expert = foreign
        if expert is None:
            if candidate.amount is None:
                raise ValueError("a light expert of another origin must be given")
            expert = prune_light(subject, self.scores, candidate.amount, candidate.cut, request.choice, request.seed)
        experts = experts_of(expert.model, subject.exported.model, subject.preprocessing, candidate.cut)
        _, costs_of = charges_of(request.costs, request.target)
        return Tried(candidate, expert, experts, costs or costs_of(experts, self.choosing.x[:1]))

    def recovered(self, tried: Tried, checkpoint: Path) -> Tried:
        """Fine-tunes a candidate's light expert, at the cost measured before: its shape stays.

        Raises:
            AgfedgeError: it cannot be trained.
        """
        recovery, cut = self.request.recovery, tried.candidate.cut
        answers = self.heavy_answers if recovery.epochs and tried.expert.plan is not None else None
        expert = recover_light(self.subject, tried.expert, recovery, checkpoint, None, cut, answers)
        experts = experts_of(expert.model, tried.experts.heavy, tried.experts.preprocessing, cut)
        return replace(tried, expert=expert, experts=experts)

    def judged(self, tried: Tried) -> SearchPoint:
        """Chooses a router on the choosing rows, and says what the cascade would cost and get right there.

        Raises:
            InputError: an expert answers NaN or infinity.
        """
        request, experts = self.request, tried.experts
        rows = experts.answers(self.choosing)
        prior_costs = experts.prior_costs(rows, self.choosing.x.shape[1:])
        routed = choose_estimate(rows, tried.costs, prior_costs, self.certifying, request.bound, request.seed)
        return replace(
            point_of_costs(tried, DONE),
            prior_kind="" if routed.prior is None else routed.prior.kind,
            prior_cost=routed.costs.prior,
            threshold=routed.threshold,
            samples=len(rows),
            early=float(routed.early.mean()),
            late=float(routed.late.mean()),
            expected=Estimate(float(routed.cost.mean()), *routed.interval),
            accuracy=_share(routed.right),
            light_accuracy=_share(rows.light_right),
            heavy_accuracy=_share(rows.heavy_right),
            curve=_curve(routed, rows),
            epochs=tried.expert.recovery.best_epoch,
            training=tried.expert.recovery.kind,
            training_reason=tried.expert.recovery.reason,
        )


def point_of_costs(tried: Tried, state: str, reason: str = "") -> SearchPoint:
    """Returns a point that knows its costs alone."""
    candidate, costs, size = tried.candidate, tried.costs, tried.experts.light_costs
    return SearchPoint(
        candidate.name,
        candidate.options,
        candidate.trunk,
        state,
        reason,
        macs=size.macs,
        parameters=size.parameters,
        light=costs.light,
        trunk_cost=costs.trunk,
        heavy=costs.heavy,
    )


def _share(hits: NDArray[np.bool_]) -> Estimate:
    share = share_of(hits)
    return Estimate(share.value, share.low, share.high)


def _curve(routed: RouterEstimate, rows: Answers) -> tuple[tuple[float, float], ...]:
    """Returns cost and accuracy over 40 thresholds, strictest first."""
    points = []
    for threshold in np.unique(np.quantile(routed.confidence, np.linspace(0, 1, 40)))[::-1]:
        asked = routed.at(float(threshold), rows)
        points.append((float(asked.cost.mean()), float(asked.right.mean())))
    return tuple(points)
