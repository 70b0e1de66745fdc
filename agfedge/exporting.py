"""Export: from a trained module and its data to a bundle of two experts, stage by stage."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from agfedge.allocate import uniform_keep
from agfedge.bundling import Experts, GraphFacts, write_expert_bundle
from agfedge.calibrate import Calibration, calibrate, check_samples
from agfedge.data import load_dataset
from agfedge.evaluate import Evaluation, evaluate
from agfedge.export_request import ExportRequest, check_request
from agfedge.models import head_size, load_module
from agfedge.preprocess import model_input, preprocessing_for
from agfedge.recover import Recovery, RecoveryReport, held_out, make_student, recover, write_back
from agfedge.scores import ScoreInputs, score_groups
from agfedge_export import CheckReport, Plan, SurgeryError, analyse, graph_costs, make_plan, mask, prune
from agfedge_export.check import TOLERANCE, compare
from agfedge_export.from_torch import export_torch
from agfedge_runtime import Bundle
from agfedge_runtime.errors import InputError

if TYPE_CHECKING:
    import onnx
    import torch
    from numpy.typing import NDArray

    from agfedge.data import Dataset
    from agfedge_export.from_torch import TorchExport

logger = logging.getLogger(__name__)

Step = Callable[[], None]

# Real inputs on which graphs and modules are compared, spread over the training split (which may be sorted by class).
PROBES = 64

STAGES = ("data", "model", "graph", "score", "surgery", "recover", "calibrate", "bundle")


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
    _make_deterministic(request.seed)
    with tqdm(STAGES, desc="export", unit="stage", disable=None, leave=False) as bar:
        stages = iter(bar)
        return _export(request, lambda: bar.set_postfix_str(next(stages)))


def _export(request: ExportRequest, step: Step) -> ExportResult:
    step()
    data = load_dataset(request.data, request.seed)
    check_samples(len(data.calibration), request.epsilon, request.delta)
    preprocessing = preprocessing_for(data.train.x, request.mean, request.std)
    train_x = model_input(data.train.x, preprocessing)
    step()
    module = load_module(request.model, request.weights)
    data = with_classes_of(data, head_size(module, train_x))
    step()
    exported = export_torch(module, _tensor(train_x[:2]))
    step()
    plan = _planned(request, exported, train_x, data)
    step()
    pruned = prune(exported.model, plan).model
    probe = train_x[np.unique(np.linspace(0, len(train_x) - 1, PROBES).astype(np.int64))]
    check = _proved(exported.model, pruned, plan, probe)
    step()
    how = Recovery(epochs=request.epochs, seed=request.seed)
    light, recovery = pruned, RecoveryReport("none", 0, ())
    if request.epochs:
        student = make_student(module, plan, pruned, probe)
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
        preprocessing,
        light_cost=costs[0].macs / costs[1].macs,
        heavy_macs=costs[1].macs,
        epsilon=request.epsilon,
        delta=request.delta,
        seed=request.seed,
    )
    step()
    experts = Experts(light, exported.model, costs[0], costs[1], preprocessing)
    bundle = write_expert_bundle(Path(request.out), experts, plan, calibration, data, _provenance(request))
    evaluation = evaluate(bundle, data.test)
    sizes = [bundle.manifest.files[name].size for name in ("heavy.onnx", "light.onnx")]
    warnings = warnings_of(data, evaluation, recovery)
    facts = [
        GraphFacts(size, cost.macs, cost.parameters) for size, cost in zip(sizes, (costs[1], costs[0]), strict=True)
    ]
    return ExportResult(bundle, check, recovery, calibration, evaluation, facts[0], facts[1], plan, warnings)


def _make_deterministic(seed: int) -> None:
    import torch

    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True, warn_only=True)


def _tensor(x: NDArray[np.float32]) -> torch.Tensor:
    import torch

    return torch.from_numpy(np.ascontiguousarray(x))


def with_classes_of(data: Dataset, head: int) -> Dataset:
    """Gives the data the classes of the model's head.

    Classes that are only numbers (of an .npz or a factory) count up to the highest label that occurs, which says
    nothing of the head: they are counted on.

    Raises:
        InputError: the data has more classes than the head, or fewer that have names.
    """
    names = data.classes
    if len(names) < head and names == _numbers(len(names)):
        return replace(data, classes=_numbers(head))
    if len(names) != head:
        raise InputError(
            f"the model's head has {head} classes, the data has {len(names)} ({names[0]} to {names[-1]}): "
            "they must be the same"
        )
    return data


def _numbers(count: int) -> tuple[str, ...]:
    return tuple(str(number) for number in range(count))


def _planned(request: ExportRequest, exported: TorchExport, x: NDArray[np.float32], data: Dataset) -> Plan:
    groups = analyse(exported.model)
    if not groups.groups:
        first = groups.kept_whole[0].reason if groups.kept_whole else "it has no convolutions or matrix products"
        raise SurgeryError(f"no channel of the model can be removed exactly: {first}; see `agfedge inspect`")
    inputs = ScoreInputs(groups, exported.model, exported, x, data.train.y, seed=request.seed)
    return make_plan(groups, uniform_keep(groups, score_groups(request.score, inputs), request.keep))


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
