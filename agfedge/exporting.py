"""Export: from a trained module and its data to a bundle of two experts, stage by stage."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from tqdm import tqdm

from agfedge.assembling import Assembly, ExportResult, assemble
from agfedge.calibrate import check_samples
from agfedge.distributed import Team, team
from agfedge.experts import experts_of
from agfedge.export_request import NO_TRUNK, ExportRequest, check_request
from agfedge.foreign import foreign_light
from agfedge.light import LightExpert, make_light, score_subject
from agfedge.recover import held_out
from agfedge.subject import Subject, load_subject
from agfedge_export.split import Cut, find_cut, trunk_cuts

Step = Callable[[], None]


STAGES = ("load", "score", "prune and recover", "calibrate", "bundle")
FOREIGN_STAGES = ("load", "calibrate", "bundle")


def export(request: ExportRequest) -> ExportResult | None:
    """Prunes, recovers, calibrates and bundles; a light expert that is given is neither pruned nor recovered.

    Under torchrun all processes score and recover together, and the leading one does the rest: None for the others.

    Raises:
        AgfedgeError: the model, the weights, the data or an option does not fit; nothing was written.
    """
    check_request(request)
    names = STAGES if request.light is None else FOREIGN_STAGES
    with team() as crew, tqdm(names, desc="export", unit="stage", disable=None, leave=False) as bar:
        stages = iter(bar)
        return _export(request, crew, lambda: bar.set_postfix_str(next(stages)))


def _export(request: ExportRequest, crew: Team, step: Step) -> ExportResult | None:
    step()
    subject = load_subject(request.model, request.weights, request.data, request.seed, request.mean, request.std)
    data, heavy = subject.data, subject.exported.model
    check_samples(len(data.calibration), request.epsilon, request.delta)
    cut = None if request.share_trunk == NO_TRUNK else find_cut(trunk_cuts(heavy), request.share_trunk)
    expert = _light(request, subject, cut, crew, step)
    if not crew.leads:
        return None
    step()
    experts = experts_of(expert.model, heavy, subject.preprocessing, cut)
    how = Assembly(
        out=Path(request.out),
        fitting=data.train.take(held_out(len(data.train), request.recovery)[0]),
        certifying=data.calibration,
        unit="macs",
        costs=experts.macs,
        epsilon=request.epsilon,
        delta=request.delta,
        seed=request.seed,
        provenance=_provenance(request),
    )
    result = assemble(subject, expert, experts, how, step)
    checkpoint_of(how.out).unlink(missing_ok=True)
    return result


def _light(request: ExportRequest, subject: Subject, cut: Cut | None, crew: Team, step: Step) -> LightExpert:
    if request.light is not None:
        return foreign_light(Path(request.light), subject)
    step()
    scores = score_subject(subject, request.score, request.seed, crew)
    step()
    return make_light(
        subject,
        scores,
        request.amount,
        request.recovery,
        checkpoint_of(Path(request.out)),
        crew,
        cut,
        request.exclude,
        None if request.per_layer is None else Path(request.per_layer),
    )


def checkpoint_of(out: Path) -> Path:
    """Returns the file that keeps the recovery's progress, beside the bundle, until the bundle is written."""
    return out.with_name(f".{out.name}.recovery.safetensors")


def _provenance(request: ExportRequest) -> dict[str, str | int | float | bool | None]:
    """What made the bundle. No times and no paths: the same request gives the same bytes."""
    from agfedge import __version__

    named = {"agfedge": __version__, "model": request.model.rpartition("/")[2]}
    if request.light is not None:
        return {**named, "light": Path(request.light).name, "seed": request.seed}
    return {
        **named,
        "score": request.score,
        **{name: value for name, value in asdict(request.amount).items() if value is not None and name != "target"},
        "epochs": request.recovery.epochs,
        "seed": request.seed,
    }
