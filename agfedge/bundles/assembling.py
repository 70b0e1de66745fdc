"""From a light expert to a bundle: its router is calibrated, the graphs are written, and what they answer is judged."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from agfedge.bundles.bundling import GraphFacts, write_expert_bundle
from agfedge.bundles.evaluate import Evaluation, evaluate
from agfedge.bundles.export_result import ExportResult
from agfedge.bundles.precisions import PrecisionReport, precision_warnings, with_precisions
from agfedge.recover import RecoveryReport
from agfedge.router import calibrate, rivals
from agfedge_export.heads.priors import unsigned
from agfedge_runtime.bundle import manifest

if TYPE_CHECKING:
    from agfedge.bundles.experts import Experts
    from agfedge.data import Arrays, Dataset
    from agfedge.light.light import LightExpert
    from agfedge.subject.subject import Subject
    from agfedge_profiles import PassCosts


@dataclass(frozen=True)
class Assembly:
    """How two experts become a bundle.

    Attributes:
        out: the bundle's folder.
        fitting: raw inputs that choose everything about the router but its confidence threshold.
        certifying: others, that certify it; they must have chosen nothing.
        unit: of the costs, "macs" or "latency".
        costs: of a pass, relative to the whole heavy expert, without a prior.
        epsilon: bound on the accuracy that the cascade loses.
        delta: probability with which it may fail.
        seed: of what is drawn.
        provenance: what made the bundle.
        precisions: of further graphs beside fp32.
    """

    out: Path
    fitting: Arrays
    certifying: Arrays
    unit: str
    costs: PassCosts
    epsilon: float
    delta: float
    seed: int
    provenance: Mapping[str, str | int | float | bool | None]
    precisions: tuple[str, ...] = ()


def assemble(
    subject: Subject, expert: LightExpert, experts: Experts, how: Assembly, step: Callable[[], None] = lambda: None
) -> ExportResult:
    """Calibrates the router of two experts, writes the bundle, and judges it on the test split.

    Args:
        subject: the heavy expert and its data.
        expert: the light one, and how it came about.
        experts: the graphs of both, and where they part.
        how: the rest.
        step: called before the bundle is written.

    Raises:
        AgfedgeError: too few samples, answers that are not finite, or a target that is no bundle's.
    """
    data = subject.data
    evidence = experts.evidence(how.fitting, how.certifying)
    calibration = calibrate(
        experts.light,
        experts.heavy,
        how.fitting,
        how.certifying,
        experts.preprocessing,
        costs=how.costs,
        heavy_macs=experts.heavy_costs.macs,
        epsilon=how.epsilon,
        delta=how.delta,
        seed=how.seed,
        evidence=evidence,
    )
    prior = 0.0 if calibration.prior is None else evidence.prior_costs[unsigned(calibration.prior.kind)]
    beside = rivals(calibration, evidence, experts.rows(data.test), how.costs, prior, how.seed)
    step()
    costs = manifest.Costs(how.unit, prior=prior, light=how.costs.light, heavy=how.costs.heavy, trunk=how.costs.trunk)
    parts = (how.fitting, how.certifying, data.test)
    with tempfile.TemporaryDirectory() as folder:
        # With further precisions this is a draft: whoever finds a bundle in its place finds all that was asked for.
        place = Path(folder, "bundle") if how.precisions else how.out
        bundle = write_expert_bundle(place, experts, expert.plan, calibration, costs, data, how.provenance)
        evaluation = evaluate(bundle, data.test)
        precisions: tuple[PrecisionReport, ...] = ()
        if how.precisions:
            bundle, precisions = with_precisions(bundle, how.precisions, parts, how.seed, how.out)
    heavy, light = (
        GraphFacts(bundle.manifest.files[name].size, cost.macs, cost.parameters)
        for name, cost in (("heavy.onnx", experts.heavy_costs), ("light.onnx", experts.light_costs))
    )
    warnings = (*warnings_of(data, evaluation, expert.recovery), *precision_warnings(evaluation, precisions))
    made = ExportResult(bundle, expert, calibration, evaluation, beside, heavy, light, warnings)
    return replace(made, precisions=precisions)


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
