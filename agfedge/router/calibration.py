"""Calibration: from what two experts say to the router of their cascade."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from agfedge.router.answers import Answers, Evidence, check_evidence
from agfedge.router.choice import TEMPERATURES, Choice, choose
from agfedge.router.confidence import CONFIDENCES, confidence_of
from agfedge.router.guarantee import NEVER, Bound, certify
from agfedge.router.priors import EarlyTrial, prior_charge, prior_values
from agfedge_export.heads.heads import CONFIDENCE, PRIOR
from agfedge_profiles import Rates, expected
from agfedge_runtime.bundle.layout import Costs
from agfedge_runtime.bundle.router import Branch, ConfidenceRule, Guarantee, PriorRule, Reference, Router
from agfedge_runtime.monitor.monitor import confidence_histogram

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agfedge_export.heads.priors import Probe
    from agfedge_runtime.arrays import UInt8Array

PRIOR_FILE = "prior.onnx"
ALWAYS_HEAVY = "the heavy expert answers everything"


@dataclass(frozen=True)
class Calibration:
    """A calibrated router, and how it was chosen.

    Attributes:
        router: its rules, thresholds and guarantee; no confidence reaches the threshold where the cascade would not be
            cheaper.
        choice: what the fitting rows chose and tried.
        expected_cost: on the certifying rows, relative to the heavy expert.
        verdict: one sentence: what was chosen and why.
    """

    router: Router
    choice: Choice
    expected_cost: float
    verdict: str = ""

    @property
    def prior(self) -> EarlyTrial | None:
        """The prior in force, with what it saves."""
        return None if self.router.prior is None else self.choice.prior

    @property
    def probe(self) -> Probe | None:
        """Weights of the prior `trunk_probe` where that is in force."""
        return None if self.router.prior is None else self.choice.probe

    def route(self, rows: Answers) -> UInt8Array:
        """Returns which way each row goes: values of `Branch`, (N,)."""
        confidence = rows.confidence
        if confidence is None:
            confidence = confidence_of(rows.light, self.choice.measure)
        rule = self.router.prior
        prior = None if rule is None else prior_values(rows, rule.kind, self.probe)
        return self.router.route(prior, confidence)

    def to_dict(self) -> dict[str, Any]:
        """Returns what `agfedge export --json` says of the router."""
        router, choice = self.router, self.choice
        reference = router.reference
        return {
            "temperature": router.confidence.temperature,
            "guarantee": guarantee_dict(router),
            "prior": self.prior,
            "trials": choice.trials,
            "expected_cost": self.expected_cost,
            "verdict": self.verdict,
            "method": router.guarantee.method,
            "confidence": router.confidence.kind,
            "energy": choice.measure.energy,
            "probe": self.probe,
            "measures": choice.measures,
            "early": 0.0 if reference is None else reference.early,
            "late": 1.0 if reference is None else reference.late,
            "histogram": () if reference is None else reference.confidence,
        }


def guarantee_dict(router: Router) -> dict[str, float]:
    """Returns a certified threshold and what is promised at it, for JSON."""
    promised = {name: value for name, value in vars(router.guarantee).items() if name != "method"}
    return {"threshold": router.confidence.threshold, **promised}


def choose_router(
    evidence: Evidence,
    costs: Costs,
    bound: Bound,
    seed: int,
    kinds: Sequence[str] = CONFIDENCES,
    temperatures: Sequence[float] = TEMPERATURES,
    *,
    judge: bool = True,
) -> Calibration:
    """Chooses on the fitting rows, then certifies the confidence threshold of the whole router on the others.

    Args:
        evidence: what both experts say.
        costs: of a pass, relative to the whole heavy expert; the prior's come with the evidence.
        bound: to certify.
        seed: of the halves and folds that judge priors. The order of the rows plays no part.
        kinds: measures of confidence to try.
        temperatures: factors on the fitted temperature to try.
        judge: whether a cascade that costs more than the heavy expert gives way to it.

    Raises:
        InputError: too few rows (says how many it takes), rows that do not fit together, values that are not finite.
    """
    bound.check()
    check_evidence(evidence)
    bound.check_samples(len(evidence.certifying))
    prior_costs = evidence.prior_costs
    choice = choose(evidence.fitting, costs, prior_costs, len(evidence.certifying), bound, seed, kinds, temperatures)
    calibration = certify_router(choice, evidence.certifying, costs, prior_costs, bound)
    return judged(calibration) if judge else calibration


def certify_router(
    choice: Choice, rows: Answers, costs: Costs, prior_costs: Mapping[str, float], bound: Bound
) -> Calibration:
    """Certifies what was chosen.

    Args:
        choice: made on the fitting rows.
        rows: the certifying ones; of the final graphs where there are such, so that rounding is the same.
        costs: of a pass, without a prior.
        prior_costs: by plain kind.
        bound: to certify.
    """
    trial, measure = choice.prior, choice.measure
    confidence = confidence_of(rows.light, measure) if rows.confidence is None else rows.confidence
    early = choice.early(rows)
    threshold, guarantee = certify(confidence, rows.light_right, rows.heavy_right, choice.grid, bound, early)
    router = Router(
        prior=None if trial is None else PriorRule(trial.kind, PRIOR_FILE, PRIOR, trial.threshold),
        confidence=ConfidenceRule(measure.kind, CONFIDENCE, threshold, measure.temperature),
        guarantee=guarantee,
        reference=None,
    )
    values = None if trial is None else prior_values(rows, trial.kind, choice.probe)
    branches = router.route(values, confidence)
    rates = Rates(*(float((branches == branch).mean()) for branch in (Branch.EARLY, Branch.LATE)))
    charged = replace(costs, prior=0.0 if trial is None else prior_charge(trial.kind, prior_costs))
    if router.asks_light:
        reference = Reference(len(rows), rates.early, rates.late, confidence_histogram(confidence[~early]))
        router = replace(router, reference=reference)
    return Calibration(router, choice, expected(rates, charged))


def judged(calibration: Calibration) -> Calibration:
    """Falls back to the heavy expert where the cascade would cost more, and says what was decided."""
    router = calibration.router
    if not router.asks_light:
        verdict = (
            "no confidence threshold satisfies the bound: the heavy expert answers everything; recover longer, "
            "or keep more channels"
        )
        return replace(calibration, router=always_heavy(router), expected_cost=1.0, verdict=verdict)
    if calibration.expected_cost >= 1:
        verdict = (
            f"the cascade would cost {calibration.expected_cost:.2f} of the heavy expert: the heavy expert answers "
            "everything; keep fewer channels, recover longer, or allow a larger --epsilon"
        )
        return replace(calibration, router=always_heavy(router), expected_cost=1.0, verdict=verdict)
    early = "no prior pays for itself" if router.prior is None else f"prior {router.prior.kind} escalates early"
    verdict = f"the light expert answers from confidence {router.confidence.threshold:.4f} on; {early}"
    return replace(calibration, verdict=verdict)


def always_heavy(router: Router) -> Router:
    """Returns a router that never asks the light expert, so that it loses and gains nothing."""
    guarantee = router.guarantee
    return Router(
        prior=None,
        confidence=replace(router.confidence, threshold=NEVER),
        guarantee=Guarantee(ALWAYS_HEAVY, guarantee.epsilon, guarantee.delta, guarantee.samples, 0, 0),
    )
