"""How an input finds its expert: the one rule that everything decides, predicts and judges by.

The cascade's path for one row repeats it inline; a test holds the two together.
"""

from __future__ import annotations

import dataclasses
import enum
from dataclasses import dataclass

import numpy as np

from agfedge_runtime.arrays import AnyArray, BoolArray, UInt8Array
from agfedge_runtime.strict_json import Fields

# What the light graph's confidence may be; whichever it is, it lies in [0, 1] and a higher one is surer.
CONFIDENCE_KINDS = ("max_probability", "margin", "entropy", "energy")
# Bins of equal width over [0, 1] that a reference counts confidences in.
CONFIDENCE_BINS = 20


class Branch(enum.IntEnum):
    """Which way an input goes."""

    LIGHT = 0
    """The light expert is confident and answers."""
    EARLY = 1
    """The heavy expert answers and light does not run: the prior escalates, or the router always does."""
    LATE = 2
    """The light expert runs without confidence and the heavy one answers."""


def escalates(prior: AnyArray, threshold: float) -> BoolArray:
    """Which priors (N,) send their inputs past the light expert; NaN, a prior that was not computed, does not."""
    # In double precision: NumPy would else round the threshold to float32.
    escalated: BoolArray = prior.astype(np.float64) > threshold
    return escalated


def answers(confidence: AnyArray, threshold: float) -> BoolArray:
    """Which confidences (N,) let the light expert answer; NaN does not."""
    answered: BoolArray = confidence.astype(np.float64) >= threshold
    return answered


def asks_light(threshold: float) -> bool:
    """Whether the light expert is asked at all: no confidence reaches a threshold above 1."""
    return threshold <= 1.0


@dataclass(frozen=True)
class PriorRule:
    """Escalate early when the `output` of the graph in `file` exceeds `threshold`; None never escalates.

    The graph takes the bundle's input, or the features of the trunk.
    """

    kind: str
    file: str
    output: str
    threshold: float | None


@dataclass(frozen=True)
class ConfidenceRule:
    """The light expert answers when its `output` is at least `threshold`; one above 1 leaves all to heavy."""

    kind: str
    output: str
    threshold: float
    temperature: float


@dataclass(frozen=True)
class Guarantee:
    """What calibration promises of a threshold: excess error <= `epsilon` with probability 1 - `delta`.

    Attributes:
        method: how it was certified.
        epsilon: bound on the net risk: P(cascade wrong, heavy right) - P(cascade right, heavy wrong).
        delta: probability with which the bound may fail, over draws of the certifying split.
        samples: size of the certifying split.
        losses: on how many of them the cascade is wrong and the heavy expert right.
        gains: on how many of them the cascade is right and the heavy expert wrong.
    """

    method: str
    epsilon: float
    delta: float
    samples: int
    losses: int = 0
    gains: int = 0


@dataclass(frozen=True)
class Reference:
    """What the cascade did on the calibration split, for a monitor to compare with.

    Attributes:
        samples: how many inputs it had.
        early: share of them that the prior escalated.
        late: share of them that the light expert handed over.
        confidence: how many confidences of the light expert, where it ran, lay in each of `CONFIDENCE_BINS` equal
            bins over [0, 1].
    """

    samples: int
    early: float
    late: float
    confidence: tuple[int, ...]


@dataclass(frozen=True)
class Router:
    """How an input finds its expert.

    `prior` is None when there is no early escalation, `reference` when nothing is known to compare with.
    """

    prior: PriorRule | None
    confidence: ConfidenceRule
    guarantee: Guarantee
    reference: Reference | None = None

    @property
    def asks_light(self) -> bool:
        """Whether the light expert is asked at all; else the heavy one answers everything."""
        return asks_light(self.confidence.threshold)

    @property
    def asks_prior(self) -> bool:
        """Whether decisions need the prior."""
        return self.asks_light and self.prior is not None and self.prior.threshold is not None

    def route(self, prior: AnyArray | None, confidence: AnyArray) -> UInt8Array:
        """Which way each input goes: values of `Branch`, uint8 (N,).

        Args:
            prior: (N,), NaN where it was not computed; None where there is none.
            confidence: of the light expert, (N,); NaN where it is not sure enough, whatever the threshold.
        """
        if not self.asks_light:
            return np.full(len(confidence), Branch.EARLY, np.uint8)
        sure = answers(confidence, self.confidence.threshold)
        branches: UInt8Array = np.where(sure, Branch.LIGHT, Branch.LATE).astype(np.uint8)
        if prior is not None and self.prior is not None and self.prior.threshold is not None:
            branches[escalates(prior, self.prior.threshold)] = Branch.EARLY
        return branches


def keys_of(layout: type) -> tuple[str, ...]:
    """The keys of an object of the manifest."""
    return tuple(each.name for each in dataclasses.fields(layout))


def read_router(fields: Fields) -> Router:
    """Read a router: its keys were checked already, those of its parts are checked here."""
    has_prior, has_reference = (fields.values[key] is not None for key in ("prior", "reference"))
    return Router(
        prior=_prior(fields.fields("prior", keys_of(PriorRule))) if has_prior else None,
        confidence=_confidence(fields.fields("confidence", keys_of(ConfidenceRule))),
        guarantee=_guarantee(fields.fields("guarantee", keys_of(Guarantee))),
        reference=_reference(fields.fields("reference", keys_of(Reference))) if has_reference else None,
    )


def _prior(fields: Fields) -> PriorRule:
    return PriorRule(
        fields.text("kind"), fields.text("file"), fields.text("output"), fields.optional_number("threshold")
    )


def _confidence(fields: Fields) -> ConfidenceRule:
    return ConfidenceRule(
        kind=fields.choice("kind", CONFIDENCE_KINDS),
        output=fields.text("output"),
        threshold=fields.number("threshold"),
        temperature=fields.number("temperature"),
    )


def _guarantee(fields: Fields) -> Guarantee:
    return Guarantee(
        method=fields.text("method"),
        epsilon=fields.number("epsilon", minimum=0.0),
        delta=fields.number("delta", minimum=0.0),
        samples=fields.integer("samples"),
        losses=fields.integer("losses"),
        gains=fields.integer("gains"),
    )


def _reference(fields: Fields) -> Reference:
    path = fields.at("confidence")
    counts = tuple(fields.document.integer(value, path) for value in fields.array("confidence"))
    reference = Reference(
        samples=fields.integer("samples", minimum=1),
        early=fields.number("early", minimum=0.0),
        late=fields.number("late", minimum=0.0),
        confidence=counts,
    )
    if len(counts) != CONFIDENCE_BINS or sum(counts) > reference.samples:
        most = reference.samples
        fields.document.fail(path, f"expected {CONFIDENCE_BINS} counts that add up to at most the {most} samples")
    if reference.early + reference.late > 1.0 + 1e-9:
        fields.document.fail(
            fields.at("late"), f"expected shares, got {reference.early!r} early and {reference.late!r} late"
        )
    return reference
