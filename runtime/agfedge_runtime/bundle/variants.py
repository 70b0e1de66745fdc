"""The experts in other precisions: a manifest's optional section `variants`, by precision."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Mapping

from agfedge_runtime.bundle.layout import Experts
from agfedge_runtime.bundle.router import Router, keys_of, read_router
from agfedge_runtime.strict_json import Document, Fields, shorten

# What the graphs are in without a variant, and what variants there may be.
FULL_PRECISION = "fp32"
VARIANT_PRECISIONS = ("fp16", "int8")


@dataclass(frozen=True)
class Accuracy:
    """Shares of right answers over `samples` labelled inputs that chose nothing."""

    light: float
    heavy: float
    cascade: float
    samples: int


@dataclass(frozen=True)
class Variant:
    """The same experts in another precision, with thresholds of their own.

    Attributes:
        light: file of the light graph.
        heavy: file of the heavy graph.
        trunk: file of the trunk where the experts share one, else None.
        golden: file of the golden answers of these graphs under this router.
        router: thresholds and guarantee, calibrated on what these graphs answer; the outputs are the same.
        accuracy: of these graphs under this router.
        flip_rate: share of the same inputs that the cascade names otherwise than in fp32.
    """

    light: str
    heavy: str
    trunk: str | None
    golden: str
    router: Router
    accuracy: Accuracy
    flip_rate: float

    @property
    def files(self) -> dict[str, str]:
        """The graphs' files by what they hold."""
        named = {"light": self.light, "heavy": self.heavy}
        return named if self.trunk is None else {**named, "trunk": self.trunk}

    def experts_of(self, experts: Experts) -> Experts:
        """The experts with this variant's files in place of theirs."""
        trunk = experts.trunk
        return Experts(
            light=dataclasses.replace(experts.light, file=self.light),
            heavy=dataclasses.replace(experts.heavy, file=self.heavy),
            trunk=None if trunk is None or self.trunk is None else dataclasses.replace(trunk, file=self.trunk),
        )


def read_variants(document: Document, values: Mapping[str, object]) -> dict[str, Variant]:
    """Read the whole section."""
    for precision in values:
        if precision not in VARIANT_PRECISIONS:
            known = ", ".join(VARIANT_PRECISIONS)
            document.fail("variants", f"got the precision {shorten(precision)}, expected of {known}")
    return {
        precision: _variant(document.fields(value, f"variants.{precision}", keys_of(Variant)))
        for precision, value in values.items()
    }


def _variant(fields: Fields) -> Variant:
    accuracy = fields.fields("accuracy", keys_of(Accuracy))
    return Variant(
        light=fields.text("light"),
        heavy=fields.text("heavy"),
        trunk=None if fields.values["trunk"] is None else fields.text("trunk"),
        golden=fields.text("golden"),
        router=read_router(fields.fields("router", keys_of(Router))),
        accuracy=Accuracy(
            light=accuracy.number("light", minimum=0.0),
            heavy=accuracy.number("heavy", minimum=0.0),
            cascade=accuracy.number("cascade", minimum=0.0),
            samples=accuracy.integer("samples", minimum=1),
        ),
        flip_rate=fields.number("flip_rate", minimum=0.0),
    )
