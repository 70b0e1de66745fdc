"""The precisions of a bundle, side by side: graphs, thresholds of their own, and what they answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Mapping

from agfedge_runtime.bundle.layout import Expert, Experts, Trunk
from agfedge_runtime.bundle.router import Router, keys_of, read_router
from agfedge_runtime.strict_json import Document, Fields, shorten

# What every bundle has, and what else it may have, the lowest last.
FULL_PRECISION = "fp32"
PRECISIONS = (FULL_PRECISION, "fp16", "int8")


@dataclass(frozen=True)
class Accuracy:
    """Shares of right answers over `samples` labelled inputs that chose nothing."""

    light: float
    heavy: float
    cascade: float
    samples: int


@dataclass(frozen=True)
class Precision:
    """Both experts in a precision.

    Attributes:
        experts: the graphs.
        router: thresholds and guarantee, calibrated on what these graphs answer.
        golden: file of the golden answers of these graphs under this router; None where nobody recorded them.
        accuracy: of these graphs under this router; None where nobody told.
        flip_rate: share of the same inputs that the cascade names otherwise than in fp32.
    """

    experts: Experts
    router: Router
    golden: str | None = None
    accuracy: Accuracy | None = None
    flip_rate: float = 0.0

    @property
    def graphs(self) -> dict[str, str]:
        """The graphs' files by what each is, in the order in which an input runs through them."""
        experts, prior = self.experts, self.router.prior
        trunk = {} if experts.trunk is None else {"trunk": experts.trunk.file}
        rule = {} if prior is None else {"prior": prior.file}
        return {**trunk, **rule, "light": experts.light.file, "heavy": experts.heavy.file}

    @property
    def files(self) -> dict[str, str]:
        """All files by the key that names each."""
        homes = {part: f"{'router' if part == 'prior' else 'experts'}.{part}.file" for part in self.graphs}
        golden = {} if self.golden is None else {"golden": self.golden}
        return {**{homes[part]: file for part, file in self.graphs.items()}, **golden}


def read_precisions(document: Document, values: Mapping[str, object]) -> dict[str, Precision]:
    """Read the whole section."""
    for name in values:
        if name not in PRECISIONS:
            document.fail("precisions", f"got the precision {shorten(name)}, expected of {', '.join(PRECISIONS)}")
    if FULL_PRECISION not in values:
        document.fail(f"precisions.{FULL_PRECISION}", "missing")
    return {
        name: _precision(document.fields(value, f"precisions.{name}", keys_of(Precision)))
        for name, value in values.items()
    }


def _precision(fields: Fields) -> Precision:
    return Precision(
        experts=_experts(fields.fields("experts", keys_of(Experts))),
        router=read_router(fields.fields("router", keys_of(Router))),
        golden=None if fields.values["golden"] is None else fields.text("golden"),
        accuracy=None if fields.values["accuracy"] is None else _accuracy(fields.fields("accuracy", keys_of(Accuracy))),
        flip_rate=fields.number("flip_rate", minimum=0.0),
    )


def _experts(fields: Fields) -> Experts:
    return Experts(
        light=_expert(fields.fields("light", keys_of(Expert))),
        heavy=_expert(fields.fields("heavy", keys_of(Expert))),
        trunk=None if fields.values["trunk"] is None else _trunk(fields.fields("trunk", keys_of(Trunk))),
    )


def _expert(fields: Fields) -> Expert:
    return Expert(fields.text("file"), fields.integer("macs"), fields.integer("parameters"))


def _trunk(fields: Fields) -> Trunk:
    outputs = fields.texts("outputs")
    if not outputs or not all(outputs) or len(set(outputs)) < len(outputs):
        fields.document.fail(fields.at("outputs"), f"expected distinct names, got {shorten(list(outputs))}")
    return Trunk(fields.text("file"), fields.integer("macs"), fields.integer("parameters"), outputs)


def _accuracy(fields: Fields) -> Accuracy:
    return Accuracy(
        light=fields.number("light", minimum=0.0),
        heavy=fields.number("heavy", minimum=0.0),
        cascade=fields.number("cascade", minimum=0.0),
        samples=fields.integer("samples", minimum=1),
    )
