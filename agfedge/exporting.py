"""Export: from a trained module and its data to a bundle of two experts, stage by stage."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from agfedge.allocate import uniform_keep
from agfedge.bundling import Experts, GraphFacts, write_expert_bundle
from agfedge.calibrate import Calibration, calibrate, check_samples
from agfedge.evaluate import Evaluation, evaluate
from agfedge.export_request import ExportRequest, check_request
from agfedge.recover import Recovery, RecoveryReport, held_out, make_student, recover, write_back
from agfedge.scores import ScoreInputs, score_groups
from agfedge.scoring import load_subject
from agfedge_export import CheckReport, Plan, SurgeryError, graph_costs, make_plan, mask, prune
from agfedge_export.check import TOLERANCE, compare
from agfedge_runtime import Bundle

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

    from agfedge.data import Dataset
    from agfedge.scoring import Subject

logger = logging.getLogger(__name__)

Step = Callable[[], None]

# Real inputs on which graphs and modules are compared, spread over the training split (which may be sorted by class).
PROBES = 64

STAGES = ("load", "score", "surgery", "recover", "calibrate", "bundle")


@dataclass(frozen=True)
class ExportResult:
    """What an export made.

    Attributes:
        bundle: the written bundle.
        check: how far the pruned graph lies from the masked one, on real inputs.
        recovery: what the fine-tuning did.
        calibration: the router.
        evaluation: both experts and the cascade on the test split.
        heavy: size, multiply-accumulates and parameters.
        light: likewise.
        plan: what was removed.
        warnings: what a reader of the figures must know.
    """

    bundle: Bundle
    check: CheckReport
    recovery: RecoveryReport
    calibration: Calibration
    evaluation: Evaluation
    heavy: GraphFacts
    light: GraphFacts
    plan: Plan
    warnings: tuple[str, ...]

    def plan_summary(self) -> str:
        """Returns how many channels of how many groups went, in words."""
        gone = sum(group.size - len(group.keep) for group in self.plan.groups)
        return f"{gone} channels of {len(self.plan.groups)} groups"


def export(request: ExportRequest) -> ExportResult:
    """Prunes, recovers, calibrates and bundles.

    Raises:
        AgfedgeError: the model, the weights, the data or an option does not fit; nothing was written.
    """
    check_request(request)
    with tqdm(STAGES, desc="export", unit="stage", disable=None, leave=False) as bar:
        stages = iter(bar)
        return _export(request, lambda: bar.set_postfix_str(next(stages)))


def _export(request: ExportRequest, step: Step) -> ExportResult:
    step()
    subject = load_subject(request.model, request.weights, request.data, request.seed, request.mean, request.std)
    module, data, train_x, exported = subject.module, subject.data, subject.x, subject.exported
    check_samples(len(data.calibration), request.epsilon, request.delta)
    step()
    plan = _planned(request, subject)
    step()
    pruned = prune(exported.model, plan).model
    probe = train_x[np.unique(np.linspace(0, len(train_x) - 1, PROBES).astype(np.int64))]
    check = _proved(exported.model, pruned, plan, probe)
    step()
    how = Recovery(epochs=request.epochs, seed=request.seed)
    light, recovery = pruned, RecoveryReport("none", 0, ())
    if request.epochs:
        student = make_student(module, plan, pruned, probe, exported.program)
        recovery = recover(student, module, train_x, data.train.y, how)
        light = write_back(student, pruned, probe)
    held = data.train.take(held_out(len(data.train), how)[0])
    step()
    costs = (graph_costs(light), graph_costs(exported.model))
    calibration = calibrate(
        light,
        exported.model,
        held,
        data.calibration,
        subject.preprocessing,
        light_cost=costs[0].macs / costs[1].macs,
        heavy_macs=costs[1].macs,
        epsilon=request.epsilon,
        delta=request.delta,
        seed=request.seed,
    )
    step()
    experts = Experts(light, exported.model, costs[0], costs[1], subject.preprocessing)
    bundle = write_expert_bundle(Path(request.out), experts, plan, calibration, data, _provenance(request))
    evaluation = evaluate(bundle, data.test)
    sizes = [bundle.manifest.files[name].size for name in ("heavy.onnx", "light.onnx")]
    warnings = warnings_of(data, evaluation, recovery)
    facts = [
        GraphFacts(size, cost.macs, cost.parameters) for size, cost in zip(sizes, (costs[1], costs[0]), strict=True)
    ]
    return ExportResult(bundle, check, recovery, calibration, evaluation, facts[0], facts[1], plan, warnings)


def _planned(request: ExportRequest, subject: Subject) -> Plan:
    inputs = ScoreInputs(
        subject.groups, subject.exported.model, subject.exported, subject.x, subject.data.train.y, seed=request.seed
    )
    keep = uniform_keep(subject.groups, score_groups(request.score, inputs), request.keep)
    return make_plan(subject.groups, keep)


def _proved(heavy: onnx.ModelProto, pruned: onnx.ModelProto, plan: Plan, probe: NDArray[np.float32]) -> CheckReport:
    """Compares removed with masked on real inputs.

    Raises:
        SurgeryError: they differ.
    """
    name = heavy.graph.input[0].name
    report = compare(mask(heavy, plan), pruned, [{name: probe}])
    if not report.max_relative_error <= TOLERANCE:
        raise SurgeryError(
            f"the pruned graph differs from the masked one by {report.max_relative_error:.1e} of the output's scale; "
            "nothing was written: report this model"
        )
    return report


def _provenance(request: ExportRequest) -> dict[str, str | int | float | bool | None]:
    """What made the bundle. No times and no paths: the same request gives the same bytes."""
    from agfedge import __version__

    return {
        "agfedge": __version__,
        "model": request.model.rpartition("/")[2],
        "score": request.score,
        "keep": request.keep,
        "epochs": request.epochs,
        "seed": request.seed,
    }


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
