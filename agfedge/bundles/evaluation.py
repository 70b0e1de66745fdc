"""What experts and cascade get right on the test split, in each precision, and what a reader of it must know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from agfedge.base.statistics import Share, share_of
from agfedge.bundles.bundling import answered
from agfedge_export.precision.precision import FP16, INT8
from agfedge_runtime.bundle.precisions import Accuracy
from agfedge_runtime.bundle.router import Branch

if TYPE_CHECKING:
    from agfedge.data import Dataset
    from agfedge.recover import RecoveryReport
    from agfedge.router import Answers, Calibration
    from agfedge_export.precision.half import Clamped

# Share of the test split that an expert may lose before a warning says so, and the inputs that are no evidence.
TOLERATED = {FP16: 0.001, INT8: 0.005}
CHANCE = 2


@dataclass(frozen=True)
class Evaluation:
    """Shares of a labelled set, each with its interval.

    Attributes:
        heavy: accuracy of the heavy expert alone.
        light: accuracy of the light expert alone.
        cascade: accuracy of the cascade.
        early: share that the prior escalated.
        late: share that the confidence escalated.
    """

    heavy: Share
    light: Share
    cascade: Share
    early: Share
    late: Share

    @property
    def accuracy(self) -> Accuracy:
        """Returns the shares of right answers, as a manifest has them."""
        return Accuracy(self.light.value, self.heavy.value, self.cascade.value, self.heavy.samples)


@dataclass(frozen=True)
class PrecisionReport:
    """What a bundle answers in a precision, on inputs that chose nothing.

    Attributes:
        precision: fp16 or int8.
        light: accuracy of the light expert alone.
        heavy: accuracy of the heavy expert alone.
        cascade: accuracy of the cascade under its own thresholds.
        flips: share of inputs that the cascade names otherwise than in fp32.
        threshold: of the confidence; above 1 the heavy expert answers everything.
        size_bytes: of the graphs' files.
        clamped: weights that float16 does not hold.
    """

    precision: str
    light: Share
    heavy: Share
    cascade: Share
    flips: Share
    threshold: float
    size_bytes: int
    clamped: tuple[Clamped, ...] = ()


def evaluate(test: Answers, calibration: Calibration) -> Evaluation:
    """Judges both experts and their cascade on labelled rows."""
    branches = calibration.route(test)
    return Evaluation(
        share_of(test.heavy_right),
        share_of(test.light_right),
        share_of(answered(test, branches) == test.labels),
        share_of(branches == Branch.EARLY),
        share_of(branches == Branch.LATE),
    )


def warnings_of(data: Dataset, evaluation: Evaluation, recovery: RecoveryReport) -> tuple[str, ...]:
    """Returns what a reader of the figures must know, a sentence each."""
    warnings = [data.warning] if data.warning else []
    if recovery.kind == "masked":
        warnings.append(f"recovery trained the light expert masked, at the dense cost: {recovery.reason}")
    common = float(np.bincount(data.test.y).max() / len(data.test))
    if evaluation.heavy.value < common + 0.1 * (1 - common):
        warnings.append(
            f"the heavy expert is right on {evaluation.heavy.value:.1%} of the test split, and always naming its most "
            f"common class on {common:.1%}: check --weights, --mean and --std, and the order of the classes"
        )
    return tuple(warnings)


def precision_warnings(full: Evaluation, reports: Sequence[PrecisionReport]) -> tuple[str, ...]:
    """Returns what a reader must know of the precisions, a sentence each."""
    warnings = []
    for report in reports:
        precision, clamped = report.precision, report.clamped
        if clamped:
            count, names = sum(weight.beyond for weight in clamped), ", ".join(weight.name for weight in clamped[:3])
            warnings.append(f"{precision}: {count} weights beyond what float16 holds were clamped ({names})")
        for name, before, after in (("heavy", full.heavy, report.heavy), ("light", full.light, report.light)):
            lost = (before.count - after.count) / before.samples
            # Whatever the size of the test split, two inputs are no evidence.
            if lost > TOLERATED[precision] and before.count - after.count > CHANCE:
                warnings.append(
                    f"{precision}: the {name} expert loses {lost:.2%} of the test split, more than "
                    f"{TOLERATED[precision]:.1%}: use another precision, or calibrate on more inputs"
                )
    return tuple(warnings)
