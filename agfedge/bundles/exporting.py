"""Export: from a trained module and its data to a bundle of two experts, stage by stage."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from agfedge.base.distributed import Team, team
from agfedge.base.progress import stages
from agfedge.bundles.assembling import Assembly, assemble
from agfedge.bundles.experts import experts_of
from agfedge.bundles.export_request import ExportRequest, check_request
from agfedge.bundles.export_result import ExportResult
from agfedge.bundles.precisions import check_precisions
from agfedge.bundles.torch_tensorrt_engine import TORCH_TENSORRT, compile_experts
from agfedge.bundles.trunk_choice import AUTO, NONE, Judge, TrunkTrial, choose_trunk
from agfedge.light.foreign import foreign_light
from agfedge.light.light import LightExpert, make_light, score_subject
from agfedge.recover import Recovery, held_out
from agfedge.subject.subject import Subject, load_subject
from agfedge_export.trunk.cuts import FEW, Cut, common_trunk, cut_at

if TYPE_CHECKING:
    import onnx

Step = Callable[[], None]


STAGES = ("load", "score", "prune and recover", "calibrate", "bundle")
# Where a trunk is to be found, each place is tried with this part of the epochs, one at least.
PILOT = 10
FOREIGN_STAGES = ("load", "calibrate", "bundle")


def export(request: ExportRequest) -> ExportResult | None:
    """Prunes, recovers, calibrates and bundles; a light expert that is given is neither pruned nor recovered.

    Under torchrun all processes score and recover together, and the leading one does the rest: None for the others.

    Raises:
        AgfedgeError: the model, the weights, the data or an option does not fit; nothing was written.
    """
    check_request(request)
    names = STAGES if request.light is None else FOREIGN_STAGES
    with team() as crew, stages("export", names if crew.leads else ()) as step:
        return _export(request, crew, step if crew.leads else lambda: None)


def _export(request: ExportRequest, crew: Team, step: Step) -> ExportResult | None:
    step()
    subject = load_subject(request.origin, request.seed, prunes=request.light is None)
    data, heavy = subject.data, subject.exported.model
    request.bound.check_samples(len(data.calibration))
    fitting = data.train.take(held_out(len(data.train), request.recovery)[0])
    judge = Judge(fitting, len(data.calibration), request.bound, request.seed)
    expert, cut, trials = _light(request, subject, judge, crew, step)
    if not crew.leads:
        return None
    step()
    experts = experts_of(expert.model, heavy, subject.preprocessing, cut)
    how = Assembly(
        out=Path(request.out),
        fitting=fitting,
        certifying=data.calibration,
        costs=experts.macs,
        bound=request.bound,
        seed=request.seed,
        provenance=_provenance(request),
        precisions=check_precisions(request.precision),
    )
    result = assemble(subject, expert, experts, how, step)
    checkpoint_of(how.out).unlink(missing_ok=True)
    if request.torch_tensorrt:
        folder = how.out.with_name(f"{how.out.name}.{TORCH_TENSORRT}")
        result = replace(result, compiled=compile_experts(subject, expert, folder))
    return replace(result, trunks=trials)


def _light(
    request: ExportRequest, subject: Subject, judge: Judge, crew: Team, step: Step
) -> tuple[LightExpert, Cut | None, tuple[TrunkTrial, ...]]:
    """Returns the light expert, where it parts from the heavy one, and what was tried to find out."""
    if request.light is not None:
        expert = foreign_light(Path(request.light), subject)
        shared = {each.heavy.tensors for each in common_trunk(subject.exported.model, expert.model, FEW)}
        cut, trials = _cut(
            request, subject, judge, lambda cut: expert.model if cut is None or cut.tensors in shared else None
        )
        return expert, cut, trials
    step()
    scores = score_subject(subject, request.score, request.seed, crew)
    step()

    def light(cut: Cut | None, how: Recovery, checkpoint: Path | None) -> LightExpert:
        return make_light(subject, scores, request.amount, how, checkpoint, crew, cut, request.choice)

    whole = request.recovery
    pilot = replace(whole, epochs=min(whole.epochs, max(1, whole.epochs // PILOT)))
    cut, trials = _cut(request, subject, judge, lambda cut: light(cut, pilot, None).model)
    return light(cut, whole, checkpoint_of(Path(request.out))), cut, trials


def _cut(
    request: ExportRequest, subject: Subject, judge: Judge, make: Callable[[Cut | None], onnx.ModelProto | None]
) -> tuple[Cut | None, tuple[TrunkTrial, ...]]:
    if request.share_trunk == NONE:
        return None, ()
    if request.share_trunk == AUTO:
        return choose_trunk(subject, make, judge)
    return cut_at(subject.exported.model, request.share_trunk), ()


def checkpoint_of(out: Path) -> Path:
    """Returns the file that keeps the recovery's progress, beside the bundle, until the bundle is written."""
    return out.with_name(f".{out.name}.recovery.safetensors")


def _provenance(request: ExportRequest) -> dict[str, str | int | float | bool | None]:
    """What made the bundle. No times and no paths: the same request gives the same bytes."""
    from agfedge.base import __version__

    named = {"agfedge": __version__, "model": request.origin.name}
    if request.light is not None:
        return {**named, "light": Path(request.light).name, "seed": request.seed}
    return {
        **named,
        "score": request.score,
        **{name: value for name, value in asdict(request.amount).items() if value is not None and name != "target"},
        "epochs": request.recovery.epochs,
        "seed": request.seed,
    }
