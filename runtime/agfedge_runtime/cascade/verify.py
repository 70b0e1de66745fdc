"""Golden answers: record them where a bundle is made, reproduce them where it runs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from agfedge_runtime.arrays import AnyArray
from agfedge_runtime.bundle.golden import Golden
from agfedge_runtime.cascade.cascade import Cascade

TOLERANCE = 1e-4
# By precision: how far another backend may round a probability, and so how far from any threshold golden inputs keep.
# Between float16 on a GPU and what ONNX Runtime makes of it on a CPU lie a few rounded sums, between int8 on both a few
# steps of a scale.
TOLERANCES = {"fp32": TOLERANCE, "fp16": 0.02, "int8": 0.05}


@dataclass(frozen=True)
class GoldenReport:
    """How well a device reproduced the golden answers.

    Attributes:
        n: how many there are.
        labels_equal: how many labels are the same.
        branches_equal: how many inputs went the same way.
        max_probability_difference: the largest absolute difference of a probability.
        passed: all labels and branches are the same, and no probability differs by more than the tolerance.
    """

    n: int
    labels_equal: int
    branches_equal: int
    max_probability_difference: float
    passed: bool


def record_golden(cascade: Cascade, inputs: AnyArray) -> Golden:
    """Answer inputs one by one, as a device does.

    Args:
        cascade: what answers.
        inputs: (N, ...) as the bundle's input says.

    Raises:
        InputError: `inputs` do not fit the bundle.
        NotFiniteError: an expert answered NaN or infinity.
    """
    cascade.check(inputs)
    answers = [cascade(inputs[index : index + 1]) for index in range(len(inputs))]
    return Golden(
        inputs=inputs,
        labels=np.concatenate([answer.labels for answer in answers]),
        probabilities=np.concatenate([answer.probabilities for answer in answers]),
        branches=np.concatenate([answer.branches for answer in answers]),
        confidence=np.concatenate([answer.confidence for answer in answers]),
        prior=np.concatenate([answer.prior for answer in answers]),
    )


def verify_golden(cascade: Cascade, golden: Golden, tolerance: float = TOLERANCE) -> GoldenReport:
    """Answer the golden inputs anew, one by one, and compare.

    Args:
        cascade: what answers here.
        golden: what was answered where the bundle was made.
        tolerance: how far a probability may be off; the default suits the same backend.

    Raises:
        NotFiniteError: an expert answered NaN or infinity.
    """
    found = record_golden(cascade, golden.inputs)
    labels_equal = int((found.labels == golden.labels).sum())
    branches_equal = int((found.branches == golden.branches).sum())
    difference = float(np.abs(found.probabilities - golden.probabilities).max())
    n = len(golden.labels)
    return GoldenReport(
        n=n,
        labels_equal=labels_equal,
        branches_equal=branches_equal,
        max_probability_difference=difference,
        passed=labels_equal == branches_equal == n and difference <= tolerance,
    )
