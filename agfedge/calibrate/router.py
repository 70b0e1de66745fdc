"""Calibration: from two experts and a calibration split to the router of a cascade."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from agfedge.calibrate.early import EarlyTrial, try_priors
from agfedge.calibrate.guarantee import METHOD, NEVER, Guarantee, certify
from agfedge.calibrate.temperature import fit_temperature
from agfedge.onnx_run import OnnxRun
from agfedge_export.heads import CONFIDENCE, PROBABILITIES, Preprocessing, attach_heads
from agfedge_export.priors import prior_kinds
from agfedge_profiles import PassCosts, Rates, expected
from agfedge_runtime.errors import InputError

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

    from agfedge.data.arrays import Arrays

PRIOR = "prior"
ALWAYS_HEAVY = "the heavy expert answers everything"


@dataclass(frozen=True)
class Calibration:
    """A calibrated router.

    Attributes:
        temperature: of the light expert's softmax.
        guarantee: the certified confidence threshold; `NEVER` when the cascade would not be cheaper.
        prior: the chosen prior, or None.
        trials: every prior that was tried, with its figures.
        expected_cost: on the calibration split, in multiply-accumulates relative to the heavy expert.
        verdict: one sentence: what was chosen and why.
        method: how the threshold was certified.
    """

    temperature: float
    guarantee: Guarantee
    prior: EarlyTrial | None
    trials: tuple[EarlyTrial, ...]
    expected_cost: float
    verdict: str
    method: str = METHOD


def calibrate(
    light: onnx.ModelProto,
    heavy: onnx.ModelProto,
    held: Arrays,
    data: Arrays,
    preprocessing: Preprocessing,
    *,
    light_cost: float,
    heavy_macs: int,
    epsilon: float,
    delta: float,
    seed: int,
) -> Calibration:
    """Chooses the temperature, then confidence threshold and prior on a split that trained neither expert.

    The temperature is part of what the threshold's certificate speaks of, so it must not see the calibration split.

    Args:
        light: core graph of the light expert, to logits.
        heavy: core graph of the heavy expert.
        held: raw inputs that fit the temperature: held out of the training split.
        data: the calibration split, raw inputs.
        preprocessing: put in front of both.
        light_cost: multiply-accumulates relative to the heavy expert's.
        heavy_macs: what a prior's cost is measured against.
        epsilon: bound on P(cascade wrong and heavy right).
        delta: probability with which the bound may fail.
        seed: of the halves that choose and judge a prior.

    Raises:
        InputError: too few samples, or logits that are not finite.
    """
    shape = data.x.shape[1:]
    light_logits, heavy_logits, held_logits = (
        _logits(core, preprocessing, arrays, expert)
        for core, arrays, expert in ((light, data, "light"), (heavy, data, "heavy"), (light, held, "light"))
    )
    temperature = fit_temperature(held_logits, held.y)
    confidence, priors = _signals(light, preprocessing, data, temperature)
    right = [logits.argmax(axis=1) == data.y for logits in (light_logits, heavy_logits)]
    guarantee = certify(confidence, right[0], right[1], light_logits.shape[1], epsilon, delta)
    answered = confidence >= guarantee.threshold
    costs = {kind: prior_cost(kind, shape, heavy_macs) for kind in priors}
    trials = try_priors(priors, answered, light_cost, costs, seed)
    prior = min((trial for trial in trials if trial.saves), key=lambda trial: trial.with_prior, default=None)
    early = np.zeros(len(data), dtype=bool) if prior is None else priors[prior.kind] > prior.threshold
    rates = Rates(float(early.mean()), float((~early & ~answered).mean()))
    cost = expected(rates, PassCosts(light_cost, 0.0 if prior is None else costs[prior.kind]))
    return _judged(Calibration(temperature, guarantee, prior, tuple(trials), cost, ""))


def _signals(
    light: onnx.ModelProto, preprocessing: Preprocessing, data: Arrays, temperature: float
) -> tuple[NDArray[np.float64], dict[str, NDArray[np.float64]]]:
    """Returns confidence (N,) and priors by kind, in double precision, in which the runtime compares them too."""
    shape = data.x.shape[1:]
    kinds = prior_kinds((shape[-1], *shape[:-1]) if preprocessing.image else shape)
    graph = attach_heads(light, preprocessing, shape, temperature=temperature, priors={kind: kind for kind in kinds})
    confidence, *values = (each.astype(np.float64) for each in OnnxRun(graph).outputs(data.x, [CONFIDENCE, *kinds]))
    return confidence, dict(zip(kinds, values, strict=True))


def prior_cost(kind: str, shape: tuple[int, ...], heavy_macs: int) -> float:
    """Returns what a prior costs relative to the heavy expert: one operation an element and pass over the input."""
    passes = 4 if kind.endswith("gradient") else 1
    return passes * prod(shape) / heavy_macs


def _judged(found: Calibration) -> Calibration:
    """Falls back to the heavy expert where the cascade would cost more, and says what was decided."""
    if found.guarantee.threshold >= 1:
        verdict = (
            "no confidence threshold satisfies the bound: the heavy expert answers everything; recover longer, "
            "or keep more channels"
        )
        return replace(found, prior=None, expected_cost=1.0, verdict=verdict, method=ALWAYS_HEAVY)
    if found.expected_cost >= 1:
        verdict = (
            f"the cascade would cost {found.expected_cost:.2f} of the heavy expert: the heavy expert answers "
            "everything; keep fewer channels, recover longer, or allow a larger --epsilon"
        )
        always = replace(found.guarantee, threshold=NEVER, bad_answers=0)
        return replace(found, guarantee=always, prior=None, expected_cost=1.0, verdict=verdict, method=ALWAYS_HEAVY)
    early = "no prior pays for itself" if found.prior is None else f"prior {found.prior.kind} escalates early"
    verdict = f"the light expert answers from confidence {found.guarantee.threshold:.4f} on; {early}"
    return replace(found, verdict=verdict)


def _logits(core: onnx.ModelProto, preprocessing: Preprocessing, data: Arrays, expert: str) -> NDArray[np.float32]:
    """Returns an expert's log-probabilities (N, classes), which serve as logits."""
    graph = attach_heads(core, preprocessing, data.x.shape[1:])
    (probabilities,) = OnnxRun(graph).outputs(data.x, [PROBABILITIES])
    if not np.isfinite(probabilities).all():
        raise InputError(
            f"the {expert} expert answers NaN or infinity on data that it has not seen: check its weights and the data"
        )
    result: NDArray[np.float32] = np.log(np.maximum(probabilities, np.finfo(np.float32).tiny))
    return result
