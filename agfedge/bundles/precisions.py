"""A bundle's experts in other precisions: graphs, thresholds of their own, and what they answer otherwise than fp32.

Ranges of int8 are taken from inputs that also choose the router, never from those that certify it. The guarantee of a
precision bounds what its cascade loses against the heavy expert of that precision.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from agfedge.base.statistics import share_of
from agfedge.bundles.bundling import answered, route
from agfedge.bundles.evaluation import PrecisionReport
from agfedge.bundles.experts import Graphs
from agfedge.router import Bound
from agfedge.router.rerouting import reroute
from agfedge_export.precision.precision import FP16, FP32, PRECISIONS, to_fp16, to_int8
from agfedge_runtime.bundle.manifest import Accuracy, Costs, Expert, Experts, Precision, Trunk
from agfedge_runtime.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from agfedge.data import Arrays
    from agfedge.router import Answers
    from agfedge_export.precision.half import Clamped

# Inputs that the ranges of int8 are taken from, spread over those that are there.
RANGE_INPUTS = 512


def check_precisions(names: Sequence[str]) -> tuple[str, ...]:
    """Returns the precisions beside fp32, in order.

    Raises:
        InputError: there is no such precision.
    """
    unknown = [name for name in names if name not in PRECISIONS]
    if unknown:
        raise InputError(f"--precision {unknown[0]}: expected of {', '.join(PRECISIONS)}")
    return tuple(name for name in PRECISIONS if name in names and name != FP32)


@dataclass(frozen=True, eq=False)
class InPrecision:
    """Both experts in a precision, and what they answer.

    Attributes:
        name: of the precision.
        described: files and router, as a manifest has them.
        graphs: what lies in the files.
        test: answers on the test split.
    """

    name: str
    described: Precision
    graphs: Graphs
    test: Answers

    @property
    def labels(self) -> NDArray[np.int64]:
        """What the cascade names on the test split, (N,)."""
        return answered(self.test, route(self.test, self.described.router))

    @property
    def files(self) -> dict[str, bytes]:
        """The graphs' files by their names."""
        return {
            name: self.graphs.models[part].SerializeToString(deterministic=True)
            for part, name in self.described.graphs.items()
        }


def in_precision(
    full: InPrecision, precision: str, parts: Sequence[Arrays], costs: Costs, seed: int
) -> tuple[InPrecision, PrecisionReport]:
    """Converts both experts to a precision, and gives them thresholds of their own.

    Args:
        full: in fp32; the bound of its router is certified anew.
        precision: fp16 or int8.
        parts: raw inputs that choose, others that certify, and others that are reported on.
        costs: of a pass.
        seed: of what is drawn.

    Raises:
        AgfedgeError: a graph cannot be converted, or answers what is not finite.
    """
    graphs, clamped = _converted(full.graphs, precision, parts[0].x)
    fitting, certifying, test = (graphs.answers(part) for part in parts)
    guarantee = full.described.router.guarantee
    bound = Bound(guarantee.epsilon, guarantee.delta)
    router, _ = reroute(full.described.router, costs, fitting, certifying, bound, seed)
    described = Precision(_experts(full.described.experts, precision), router, f"golden.{precision}.npz")
    described = judged_precision(described, test, full.labels)
    made = InPrecision(precision, described, graphs, test)
    report = PrecisionReport(
        precision=precision,
        light=share_of(test.light_right),
        heavy=share_of(test.heavy_right),
        cascade=share_of(made.labels == test.labels),
        flips=share_of(made.labels != full.labels),
        threshold=router.confidence.threshold,
        size_bytes=sum(model.ByteSize() for part, model in graphs.models.items() if part != "prior"),
        clamped=clamped,
    )
    return made, report


def judged_precision(precision: Precision, test: Answers, labels: NDArray[np.int64]) -> Precision:
    """Returns a precision with what its graphs get right, and how often its cascade names others than fp32's labels."""
    names = answered(test, route(test, precision.router))
    light, heavy, cascade = (
        float(np.mean(right)) for right in (test.light_right, test.heavy_right, names == test.labels)
    )
    accuracy = Accuracy(light, heavy, cascade, len(test))
    return replace(precision, accuracy=accuracy, flip_rate=float(np.mean(names != labels)))


def _converted(full: Graphs, precision: str, x: NDArray[np.generic]) -> tuple[Graphs, tuple[Clamped, ...]]:
    """Converts every graph but the prior, which stays float32; `x` are real inputs."""
    spread = np.unique(np.linspace(0, len(x) - 1, min(len(x), RANGE_INPUTS)).astype(np.int64))
    convert = to_fp16 if precision == FP16 else to_int8
    made = {part: convert(full.models[part], given) for part, given in full.feeds(x[spread]).items()}
    models = {part: conversion.model for part, conversion in made.items()}
    clamped = tuple(weight for conversion in made.values() for weight in conversion.clamped)
    return replace(full, models={**full.models, **models}), clamped


def _experts(full: Experts, precision: str) -> Experts:
    """Returns the experts by the names of their files in a precision."""

    def named(graph: Expert | Trunk) -> str:
        return f"{graph.file.removesuffix('.onnx')}.{precision}.onnx"

    trunk = full.trunk
    return Experts(
        light=replace(full.light, file=named(full.light)),
        heavy=replace(full.heavy, file=named(full.heavy)),
        trunk=None if trunk is None else replace(trunk, file=named(trunk)),
    )
