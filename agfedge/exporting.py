"""Export: from a trained module and its data to a bundle of two experts, stage by stage."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from agfedge.bundling import Experts, GraphFacts, write_expert_bundle
from agfedge.calibrate import Calibration, Rival, calibrate, check_samples, evidence_of, rivals, rows_of
from agfedge.distributed import Team, team
from agfedge.evaluate import Evaluation, evaluate
from agfedge.export_request import NO_TRUNK, ExportRequest, check_request
from agfedge.light import LightExpert, make_light, score_subject
from agfedge.recover import RecoveryReport, held_out
from agfedge.subject import load_subject
from agfedge_export import SurgeryError, graph_costs
from agfedge_export.priors import unsigned
from agfedge_export.split import common_trunk, find_cut, trunk_cuts
from agfedge_profiles import PassCosts
from agfedge_runtime import Bundle

if TYPE_CHECKING:
    import onnx

    from agfedge.data import Dataset
    from agfedge.subject import Subject
    from agfedge_export.priors import unsigned
from agfedge_export.split import Cut, SharedCut

logger = logging.getLogger(__name__)

Step = Callable[[], None]


STAGES = ("load", "score", "prune and recover", "calibrate", "bundle")


@dataclass(frozen=True)
class ExportResult:
    """What an export made.

    Attributes:
        bundle: the written bundle.
        expert: the light expert: its plan, its check, its recovery.
        calibration: the router.
        evaluation: both experts and the cascade on the test split.
        rivals: the cascade beside other ways to answer, on the test split.
        heavy: size, multiply-accumulates and parameters.
        light: likewise.
        warnings: what a reader of the figures must know.
    """

    bundle: Bundle
    expert: LightExpert
    calibration: Calibration
    evaluation: Evaluation
    rivals: tuple[Rival, ...]
    heavy: GraphFacts
    light: GraphFacts
    warnings: tuple[str, ...]

    def plan_summary(self) -> str:
        """Returns how many channels of how many groups went, in words."""
        gone = sum(group.size - len(group.keep) for group in self.expert.plan.groups)
        return f"{gone} channels of {len(self.expert.plan.groups)} groups"


def export(request: ExportRequest) -> ExportResult | None:
    """Prunes, recovers, calibrates and bundles.

    Under torchrun all processes score and recover together, and the leading one does the rest: None for the others.

    Raises:
        AgfedgeError: the model, the weights, the data or an option does not fit; nothing was written.
    """
    check_request(request)
    with team() as crew, tqdm(STAGES, desc="export", unit="stage", disable=None, leave=False) as bar:
        stages = iter(bar)
        return _export(request, crew, lambda: bar.set_postfix_str(next(stages)))


def _export(request: ExportRequest, crew: Team, step: Step) -> ExportResult | None:
    step()
    subject = load_subject(request.model, request.weights, request.data, request.seed, request.mean, request.std)
    data = subject.data
    check_samples(len(data.calibration), request.epsilon, request.delta)
    step()
    scores = score_subject(subject, request.score, request.seed, crew)
    step()
    how = request.recovery
    progress = checkpoint_of(Path(request.out))
    heavy = subject.exported.model
    cut = None if request.share_trunk == NO_TRUNK else find_cut(trunk_cuts(heavy), request.share_trunk)
    per_layer = None if request.per_layer is None else Path(request.per_layer)
    light = make_light(subject, scores, request.amount, how, progress, crew, cut, request.exclude, per_layer)
    if not crew.leads:
        return None
    step()
    costs = (graph_costs(light.model), graph_costs(heavy))
    passes = pass_costs(costs[0].macs / costs[1].macs, 0.0 if cut is None else cut.share)
    features = () if cut is None else cut.tensors
    calibration, beside = _routed(request, subject, light.model, passes, costs[1].macs, features)
    step()
    trunk = None if cut is None else _shared(heavy, light.model, cut)
    experts = Experts(light.model, heavy, costs[0], costs[1], subject.preprocessing, trunk)
    bundle = write_expert_bundle(Path(request.out), experts, light.plan, calibration, data, _provenance(request))
    progress.unlink(missing_ok=True)
    evaluation = evaluate(bundle, data.test)
    sizes = [bundle.manifest.files[name].size for name in ("heavy.onnx", "light.onnx")]
    warnings = warnings_of(data, evaluation, light.recovery)
    facts = [
        GraphFacts(size, cost.macs, cost.parameters) for size, cost in zip(sizes, (costs[1], costs[0]), strict=True)
    ]
    return ExportResult(bundle, light, calibration, evaluation, beside, facts[0], facts[1], warnings)


def _routed(
    request: ExportRequest,
    subject: Subject,
    light: onnx.ModelProto,
    passes: PassCosts,
    heavy_macs: int,
    features: tuple[str, ...],
) -> tuple[Calibration, tuple[Rival, ...]]:
    """Calibrates the router, and puts it beside its rivals on the test split."""
    data, before, heavy = subject.data, subject.preprocessing, subject.exported.model
    held = data.train.take(held_out(len(data.train), request.recovery)[0])
    evidence = evidence_of(light, heavy, held, data.calibration, before, heavy_macs, features)
    calibration = calibrate(
        light,
        heavy,
        held,
        data.calibration,
        before,
        costs=passes,
        heavy_macs=heavy_macs,
        epsilon=request.epsilon,
        delta=request.delta,
        seed=request.seed,
        evidence=evidence,
    )
    prior = 0.0 if calibration.prior is None else evidence.prior_costs[unsigned(calibration.prior.kind)]
    test = rows_of(light, heavy, data.test, before, features)
    return calibration, rivals(calibration, evidence, test, passes, prior, request.seed)


def pass_costs(light: float, trunk: float) -> PassCosts:
    """Returns what passes cost: of a whole light expert, of which a trunk is a part that runs once."""
    return PassCosts(light - trunk, trunk=trunk, heavy=1 - trunk)


def _shared(heavy: onnx.ModelProto, light: onnx.ModelProto, cut: Cut) -> SharedCut:
    """Finds where the experts part.

    Raises:
        SurgeryError: what lies before the cut is not the same in both.
    """
    found = next((each for each in common_trunk(heavy, light) if each.heavy.tensors == cut.tensors), None)
    if found is None:
        raise SurgeryError(f"the experts differ before {cut}, where they should part: report this model")
    return found


def checkpoint_of(out: Path) -> Path:
    """Returns the file that keeps the recovery's progress, beside the bundle, until the bundle is written."""
    return out.with_name(f".{out.name}.recovery.safetensors")


def _provenance(request: ExportRequest) -> dict[str, str | int | float | bool | None]:
    """What made the bundle. No times and no paths: the same request gives the same bytes."""
    from agfedge import __version__

    return {
        "agfedge": __version__,
        "model": request.model.rpartition("/")[2],
        "score": request.score,
        **{name: value for name, value in asdict(request.amount).items() if value is not None and name != "target"},
        "epochs": request.recovery.epochs,
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
