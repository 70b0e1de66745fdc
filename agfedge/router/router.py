"""Calibration: from two experts' outputs, or the experts and data, to the router of a cascade."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from agfedge.base.onnx_run import OnnxRun
from agfedge.router.choice import TEMPERATURES, Choice, MeasureTrial, Target, choose
from agfedge.router.confidence import CONFIDENCES, confidence_of
from agfedge.router.early import EarlyTrial
from agfedge.router.evidence import Evidence, Rows, check_evidence
from agfedge.router.guarantee import METHOD, NEVER, Guarantee, certify, check_bounds, check_samples
from agfedge_export.graph.view import view_of
from agfedge_export.heads.heads import CONFIDENCE, LOGITS, PROBABILITIES, Preprocessing, attach_heads
from agfedge_export.heads.priors import (
    NEGATED,
    TRUNK_ENERGY,
    TRUNK_PROBE,
    Probe,
    append_pooled,
    prior_kinds,
    reads_trunk,
    unsigned,
)
from agfedge_profiles import PassCosts, Rates, expected
from agfedge_runtime.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx
    from numpy.typing import NDArray

    from agfedge.data.arrays import Arrays

PRIOR = "prior"
_POOLED = "pooled_features"
ALWAYS_HEAVY = "the heavy expert answers everything"
REFERENCE_BINS = 20


@dataclass(frozen=True)
class Calibration:
    """A calibrated router.

    Attributes:
        temperature: of the light expert's softmax.
        guarantee: the certified confidence threshold; `NEVER` when the cascade would not be cheaper.
        prior: the chosen prior, or None.
        trials: every prior that was tried, with its figures.
        expected_cost: on the certifying rows, relative to the heavy expert.
        verdict: one sentence: what was chosen and why.
        method: how the threshold was certified.
        confidence: the measure of confidence, one of `CONFIDENCES`.
        energy: mean and deviation by which the measure `energy` is standardised.
        probe: weights of the prior `trunk_probe`, or None.
        measures: every measure that was tried, with its figures.
        early: share of the certifying rows that the prior escalates.
        late: share that the confidence escalates.
        histogram: of the light expert's confidence where it ran, 20 equal bins over [0, 1]; empty where it never does.
    """

    temperature: float
    guarantee: Guarantee
    prior: EarlyTrial | None
    trials: tuple[EarlyTrial, ...]
    expected_cost: float
    verdict: str
    method: str = METHOD
    confidence: str = "max_probability"
    energy: tuple[float, float] = (0.0, 1.0)
    probe: Probe | None = None
    measures: tuple[MeasureTrial, ...] = ()
    early: float = 0.0
    late: float = 1.0
    histogram: tuple[int, ...] = ()


def choose_router(
    evidence: Evidence,
    costs: PassCosts,
    epsilon: float,
    delta: float,
    seed: int,
    kinds: Sequence[str] = CONFIDENCES,
    temperatures: Sequence[float] = TEMPERATURES,
    *,
    judge: bool = True,
) -> Calibration:
    """Chooses on the fitting rows, then certifies the confidence threshold of the whole router on the others.

    Args:
        evidence: outputs of both experts.
        costs: of a pass, relative to the whole heavy expert; the prior's come with the evidence.
        epsilon: bound on the net risk.
        delta: probability with which the bound may fail.
        seed: of the halves and folds that judge priors. The order of the rows plays no part.
        kinds: measures of confidence to try.
        temperatures: factors on the fitted temperature to try.
        judge: whether a cascade that costs more than the heavy expert gives way to it.

    Raises:
        InputError: too few rows (says how many it takes), rows that do not fit together, values that are not finite.
    """
    check_bounds(epsilon, delta)
    check_evidence(evidence)
    rows = evidence.certifying
    check_samples(len(rows), epsilon, delta)
    target = Target(len(rows), epsilon, delta)
    chosen = choose(evidence.fitting, costs, evidence.prior_costs, target, seed, kinds, temperatures)
    confidence = confidence_of(rows.light, chosen.measure)
    found = certify_router(chosen, evidence, confidence, chosen.early(rows), costs, target)
    return _judged(found) if judge else found


def certify_router(
    chosen: Choice,
    evidence: Evidence,
    confidence: NDArray[np.float64],
    early: NDArray[np.bool_],
    costs: PassCosts,
    target: Target,
) -> Calibration:
    """Certifies what was chosen.

    Args:
        chosen: on the fitting rows.
        evidence: whose certifying rows certify.
        confidence: of those rows, (N,); from the graph itself where there is one, so that rounding is the same.
        early: which of them the prior escalates, (N,).
        costs: of a pass, without a prior.
        target: epsilon and delta.
    """
    rows, prior, measure = evidence.certifying, chosen.prior, chosen.measure
    guarantee = certify(
        confidence, rows.light_right, rows.heavy_right, chosen.grid, target.epsilon, target.delta, early
    )
    rates = Rates(float(early.mean()), float((~early & (confidence < guarantee.threshold)).mean()))
    charged = replace(costs, prior=0.0 if prior is None else _prior_charge(evidence, prior.kind))
    counts, _ = np.histogram(np.clip(confidence[~early], 0, 1), bins=REFERENCE_BINS, range=(0, 1))
    return Calibration(
        measure.temperature,
        guarantee,
        prior,
        chosen.trials,
        expected(rates, charged),
        "",
        confidence=measure.kind,
        energy=measure.energy,
        probe=chosen.probe,
        measures=chosen.measures,
        early=rates.early,
        late=rates.late,
        histogram=tuple(int(count) for count in counts),
    )


def _prior_charge(evidence: Evidence, kind: str) -> float:
    costs = evidence.prior_costs
    return costs.get(kind.removeprefix(NEGATED), costs.get(kind, 0.0))


def calibrate(
    light: onnx.ModelProto,
    heavy: onnx.ModelProto,
    held: Arrays,
    data: Arrays,
    preprocessing: Preprocessing,
    *,
    costs: PassCosts,
    heavy_macs: int,
    epsilon: float,
    delta: float,
    seed: int,
    kinds: Sequence[str] = CONFIDENCES,
    temperatures: Sequence[float] = TEMPERATURES,
    evidence: Evidence | None = None,
) -> Calibration:
    """Runs both experts and chooses their router: `held` chooses, `data` certifies.

    Args:
        light: core graph of the light expert, to logits.
        heavy: core graph of the heavy expert.
        held: raw inputs that choose everything but the confidence threshold: held out of the training split.
        data: the calibration split, raw inputs; it certifies and must have chosen nothing.
        preprocessing: put in front of both.
        costs: of a pass without a prior, relative to the whole heavy expert.
        heavy_macs: what a prior's cost is measured against.
        epsilon: bound on the net risk.
        delta: probability with which the bound may fail.
        seed: of the halves that choose and judge a prior.
        kinds: measures of confidence to try.
        temperatures: factors on the fitted temperature to try.
        evidence: of `evidence_of` for the same experts and data, where it is there already.

    Raises:
        InputError: too few samples, or logits that are not finite.
    """
    check_bounds(epsilon, delta)
    check_samples(len(data), epsilon, delta)
    shape = data.x.shape[1:]
    evidence = evidence or evidence_of(light, heavy, held, data, preprocessing, heavy_macs)
    target = Target(len(data), epsilon, delta)
    chosen = choose(evidence.fitting, costs, evidence.prior_costs, target, seed, kinds, temperatures)
    measure = chosen.measure
    graph = attach_heads(
        light, preprocessing, shape, temperature=measure.temperature, confidence=measure.kind, energy=measure.energy
    )
    (confidence,) = OnnxRun(graph).outputs(data.x, [CONFIDENCE])
    early = chosen.early(evidence.certifying)
    return _judged(certify_router(chosen, evidence, confidence.astype(np.float64), early, costs, target))


def evidence_of(
    light: onnx.ModelProto,
    heavy: onnx.ModelProto,
    held: Arrays,
    data: Arrays,
    preprocessing: Preprocessing,
    heavy_macs: int,
    features: Sequence[str] = (),
) -> Evidence:
    """Runs both experts over what chooses a router and what certifies it.

    Arguments and errors as of `calibrate`; `features` are the tensors that leave a trunk, which priors may read too.
    """
    fitting, certifying = (rows_of(light, heavy, arrays, preprocessing, features) for arrays in (held, data))
    shapes = PriorShapes(data.x.shape[1:], shapes_of(heavy, features))
    evidence = Evidence(fitting, certifying, prior_charges(certifying, shapes, heavy_macs))
    check_evidence(evidence)
    return evidence


def rows_of(
    light: onnx.ModelProto,
    heavy: onnx.ModelProto,
    data: Arrays,
    preprocessing: Preprocessing,
    features: Sequence[str] = (),
) -> Rows:
    """Runs both experts over raw inputs: logits, the priors of the input, and those of a trunk's features.

    Raises:
        InputError: an expert answers NaN or infinity.
    """
    shape = data.x.shape[1:]
    planes = (shape[-1], *shape[:-1]) if preprocessing.image else shape
    kinds = [kind for kind in prior_kinds(planes) if not kind.startswith(NEGATED)]
    thin = attach_heads(light, preprocessing, shape, priors={kind: kind for kind in kinds}, with_logits=True)
    of_light, probabilities, *values = OnnxRun(thin).outputs(data.x, [LOGITS, PROBABILITIES, *kinds])
    of_trunk = {TRUNK_ENERGY: TRUNK_ENERGY} if features else {}
    whole = attach_heads(heavy, preprocessing, shape, priors=of_trunk, features=features, with_logits=True)
    wanted = [LOGITS, PROBABILITIES, *of_trunk]
    if features:
        whole, wanted = append_pooled(whole, features, _POOLED), [*wanted, _POOLED]
    of_heavy, others, *more = OnnxRun(whole).outputs(data.x, wanted)
    for expert, answers in (("light", (of_light, probabilities)), ("heavy", (of_heavy, others))):
        if not all(np.isfinite(each).all() for each in answers):
            raise InputError(
                f"the {expert} expert answers NaN or infinity on data that it has not seen: check its weights and the "
                "data"
            )
    priors = dict(zip([*kinds, *of_trunk], [*values, *more], strict=False))
    return Rows(of_light, of_heavy, data.y, priors, more[-1] if features else None)


@dataclass(frozen=True)
class PriorShapes:
    """What priors read, one row of it: the input, and a trunk's features, channels first."""

    image: tuple[int, ...]
    features: tuple[tuple[int, ...], ...] = ()


def prior_charges(rows: Rows, shapes: PriorShapes, heavy_macs: int) -> dict[str, float]:
    """Returns what every prior of these rows costs, by its plain kind."""
    kinds = [*rows.priors, *([] if rows.features is None else [TRUNK_PROBE])]
    return {kind: prior_cost(kind, shapes, heavy_macs) for kind in kinds}


def shapes_of(heavy: onnx.ModelProto, features: Sequence[str]) -> tuple[tuple[int, ...], ...]:
    """Returns the shapes of tensors, without the batch."""
    view = view_of(heavy)
    return tuple(tuple((view.shape(name) or (1,))[1:]) for name in features)


def prior_cost(kind: str, shapes: PriorShapes, heavy_macs: int) -> float:
    """Returns what a prior costs relative to the heavy expert: one operation an element and pass over what it reads."""
    plain = unsigned(kind)
    if not reads_trunk(plain):
        return (4 if plain.endswith("gradient") else 1) * prod(shapes.image) / heavy_macs
    weights = sum(shape[0] for shape in shapes.features) if plain == TRUNK_PROBE else 0
    return (sum(prod(shape) for shape in shapes.features) + weights) / heavy_macs


def _judged(found: Calibration) -> Calibration:
    """Falls back to the heavy expert where the cascade would cost more, and says what was decided."""
    if found.guarantee.threshold > 1:
        verdict = (
            "no confidence threshold satisfies the bound: the heavy expert answers everything; recover longer, "
            "or keep more channels"
        )
        return _always_heavy(found, found.guarantee, verdict)
    if found.expected_cost >= 1:
        verdict = (
            f"the cascade would cost {found.expected_cost:.2f} of the heavy expert: the heavy expert answers "
            "everything; keep fewer channels, recover longer, or allow a larger --epsilon"
        )
        return _always_heavy(found, replace(found.guarantee, threshold=NEVER, losses=0, gains=0), verdict)
    early = "no prior pays for itself" if found.prior is None else f"prior {found.prior.kind} escalates early"
    verdict = f"the light expert answers from confidence {found.guarantee.threshold:.4f} on; {early}"
    return replace(found, verdict=verdict)


def _always_heavy(found: Calibration, guarantee: Guarantee, verdict: str) -> Calibration:
    return replace(
        found,
        guarantee=guarantee,
        prior=None,
        probe=None,
        expected_cost=1.0,
        verdict=verdict,
        method=ALWAYS_HEAVY,
        histogram=(),
        early=0.0,
        late=1.0,
    )
