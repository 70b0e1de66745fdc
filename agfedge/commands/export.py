"""`agfedge.export`: a trained model and its data become a bundle of two experts."""

from __future__ import annotations

import logging
from typing import Annotated

from cyclopts import Parameter

from agfedge.bundles.export_result import ExportResult
from agfedge.commands import options as o
from agfedge.commands.arguments import amount_of, changed, choice_of, origin_of, recovery_of, to_toml
from agfedge.recover.options import Recovery
from agfedge_runtime.errors import InputError

logger = logging.getLogger(__name__)

# What makes a light expert out of the heavy one; it means nothing to one that is given.
PRUNING = (
    *("keep", "budget", "of", "target", "target_precision", "allocation", "floor", "drop_branches", "align"),
    *("score", "exclude", "per_layer"),
    *("epochs", "batch_size", "learning_rate", "distillation", "augment", "patience", "training_precision"),
)


@o.documented
def export(
    model: o.Model,
    data: o.Data,
    out: Annotated[o.PathLike, Parameter(help="Folder of the bundle.")],
    *,
    weights: o.Weights = None,
    mean: o.Mean = None,
    std: o.Std = None,
    keep: o.Keep = None,
    budget: o.Budget = None,
    of: o.Of = None,
    target: o.Target = None,
    target_precision: o.TargetPrecision = None,
    allocation: o.AllocationKind = None,
    floor: o.Floor = None,
    drop_branches: o.DropBranches = None,
    align: o.Align = 1,
    exclude: o.Exclude = (),
    per_layer: o.PerLayer = None,
    score: o.Score = "agf",
    epochs: o.Epochs = Recovery.epochs,
    batch_size: o.BatchSize = Recovery.batch_size,
    learning_rate: o.LearningRate = Recovery.learning_rate,
    distillation: o.Distillation = Recovery.distillation,
    augment: o.Augment = "none",
    patience: o.Patience = Recovery.patience,
    training_precision: o.TrainingPrecision = "auto",
    light: o.Light = None,
    share_trunk: o.ShareTrunk = "none",
    epsilon: o.Epsilon = 0.005,
    delta: o.Delta = 0.05,
    precision: o.Precisions = (),
    torch_tensorrt: Annotated[
        bool,
        Parameter(
            **o.FLAG, help="Compile both experts for this machine too, with torch-tensorrt; needs an NVIDIA GPU."
        ),
    ] = False,
    seed: o.Seed = 0,
) -> ExportResult:
    """Prune a light expert out of a trained classifier, fine-tune it, calibrate the cascade, and write a bundle.

    Calibration needs images that the heavy expert was not trained on. Beside the bundle, a file BUNDLE.toml repeats the
    export: `agfedge export --config BUNDLE.toml`. An export that was killed continues with the same command, from the
    last whole epoch. Under torchrun the processes share scoring and fine-tuning, and all but the first end here.

    Returns:
        The bundle, its accuracies, its guarantee and its expected cost.

    Raises:
        AgfedgeError: The model, the weights, the data or an option does not fit; no bundle was written.

    Example:
        >>> result = agfedge.export(model, {"train": train, "test": test}, "bundle", keep=0.5, epochs=10)
        >>> print(result)
    """
    arguments = dict(locals())
    from agfedge.bundles.export_request import ExportRequest
    from agfedge.bundles.exporting import export as run
    from agfedge.router import Bound
    from agfedge_runtime.atomic import write_text

    _check_light(arguments)
    result = run(
        ExportRequest(
            origin=origin_of(arguments),
            out=str(out),
            amount=amount_of(arguments),
            choice=choice_of(arguments),
            score=score,
            recovery=recovery_of(arguments, seed),
            light=o.path_of(light),
            share_trunk=share_trunk,
            bound=Bound(epsilon, delta),
            precision=o.names_of(precision),
            torch_tensorrt=torch_tensorrt,
        )
    )
    if result is None:  # another process of this job leads
        raise SystemExit(0)
    text = to_toml(export, arguments)
    if text is not None:
        write_text(result.bundle.path.with_name(f"{result.bundle.path.name}.toml"), text)
    for warning in result.warnings:
        logger.warning("%s", warning)
    return result


def _check_light(arguments: dict[str, object]) -> None:
    """Refuses what means nothing beside a light expert that is given.

    Raises:
        InputError: something of it was.
    """
    stray = [name for name in changed(export, arguments) if name in PRUNING]
    if arguments["light"] is not None and stray:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in stray)
        raise InputError(f"--light takes a light expert as it is, which nothing prunes or trains: leave out {options}")
