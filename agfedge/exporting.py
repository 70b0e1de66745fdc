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
from agfedge.calibrate import Calibration, calibrate, check_samples
from agfedge.distributed import Team, team
from agfedge.evaluate import Evaluation, evaluate
from agfedge.export_request import ExportRequest, check_request
from agfedge.light import LightExpert, make_light, score_subject
from agfedge.recover import RecoveryReport, held_out
from agfedge.scoring import load_subject
from agfedge_export import graph_costs
from agfedge_runtime import Bundle

if TYPE_CHECKING:
    from agfedge.data import Dataset

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
        heavy: size, multiply-accumulates and parameters.
        light: likewise.
        warnings: what a reader of the figures must know.
    """

    bundle: Bundle
    expert: LightExpert
    calibration: Calibration
    evaluation: Evaluation
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
    light = make_light(subject, scores, request.amount, how, progress, crew)
    if not crew.leads:
        return None
    held = data.train.take(held_out(len(data.train), how)[0])
    step()
    heavy = subject.exported.model
    costs = (graph_costs(light.model), graph_costs(heavy))
    calibration = calibrate(
        light.model,
        heavy,
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
    experts = Experts(light.model, heavy, costs[0], costs[1], subject.preprocessing)
    bundle = write_expert_bundle(Path(request.out), experts, light.plan, calibration, data, _provenance(request))
    progress.unlink(missing_ok=True)
    evaluation = evaluate(bundle, data.test)
    sizes = [bundle.manifest.files[name].size for name in ("heavy.onnx", "light.onnx")]
    warnings = warnings_of(data, evaluation, light.recovery)
    facts = [
        GraphFacts(size, cost.macs, cost.parameters) for size, cost in zip(sizes, (costs[1], costs[0]), strict=True)
    ]
    return ExportResult(bundle, light, calibration, evaluation, facts[0], facts[1], warnings)


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
