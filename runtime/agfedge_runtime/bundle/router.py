"""Reading the part of a manifest that says how an input finds its expert."""

from __future__ import annotations

import dataclasses

from agfedge_runtime.bundle.layout import (
    CONFIDENCE_BINS,
    CONFIDENCE_KINDS,
    ConfidenceRule,
    Guarantee,
    PriorRule,
    Reference,
    Router,
)
from agfedge_runtime.strict_json import Fields


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
    return PriorRule(fields.text("kind"), fields.text("output"), fields.optional_number("threshold"))


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
        satisfied=fields.flag("satisfied"),
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
