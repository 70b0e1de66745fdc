"""`agfedge.compare`: the stress test of channel scores on a model and data of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from agfedge.commands import options as o
from agfedge.commands.arguments import origin_of, recovery_of
from agfedge.recover.options import Recovery
from agfedge.study.compare.report import CompareResult


@o.documented
def compare(
    model: o.Model,
    data: o.Data,
    out: Annotated[o.PathLike, Parameter(help="Folder of the points, the table, the plot and the JSON.")],
    *,
    weights: o.Weights = None,
    mean: o.Mean = None,
    std: o.Std = None,
    score: o.Scores = ("agf", "taylor", "l1", "random"),
    keep: Annotated[o.Numbers, Parameter(help="Shares of the channels that stay, with commas.", **o.NUMBERS)] = (
        1.0,
        0.5,
        0.25,
        0.125,
    ),
    seed: Annotated[o.Seeds, Parameter(help="Seeds, with commas: each measures every point once.", **o.INTEGERS)] = (
        0,
        1,
        2,
    ),
    recover: Annotated[
        o.Names, Parameter(help="Scores whose light experts are fine-tuned as well, with commas.", **o.NAMES)
    ] = (),
    recover_keep: Annotated[o.Numbers, Parameter(help="Shares at which they are, with commas.", **o.NUMBERS)] = (0.25,),
    scratch: Annotated[
        bool, Parameter(help="Also train the small architecture from random weights.", **o.FLAG)
    ] = False,
    epochs: o.Epochs = Recovery.epochs,
    batch_size: o.BatchSize = Recovery.batch_size,
    learning_rate: o.LearningRate = Recovery.learning_rate,
    distillation: o.Distillation = Recovery.distillation,
    augment: o.Augment = "none",
    patience: o.Patience = Recovery.patience,
    training_precision: o.TrainingPrecision = "auto",
    samples: o.Samples = 1024,
    exclude: o.Exclude = (),
) -> CompareResult:
    """Compare channel scores: accuracy at several widths, with intervals.

    The model is pruned by every score, at every width, with every seed. The accuracy of each light expert is measured
    as it is, after batch-norm re-estimation, and after recovery where that is asked for. Every point is kept: a
    comparison that was stopped continues, and may be extended by widths, seeds and scores. Random pruning is always in
    it.

    Returns:
        The points, their means with intervals, and the differences that the intervals bear.

    Raises:
        AgfedgeError: The model, the data or an option does not fit. What was measured stays.

    Example:
        >>> print(agfedge.compare(model, data, "comparison", score=["agf", "l1"], keep=[0.5, 0.25]))
    """
    arguments = dict(locals())
    from agfedge.study.compare import CompareRequest, claims_of, json_of, markdown_of, rows_of
    from agfedge.study.compare.report import write_plots
    from agfedge.study.compare.run import compare as run
    from agfedge_runtime.atomic import write_text

    request = CompareRequest(
        origin=origin_of(arguments),
        out=str(out),
        scores=o.names_of(score),
        keeps=o.numbers_of(keep),
        seeds=(seed,) if isinstance(seed, int) else tuple(seed),
        recover=o.names_of(recover),
        recover_keeps=o.numbers_of(recover_keep),
        recovery=recovery_of(arguments),
        scratch=scratch,
        samples=samples,
        exclude=o.names_of(exclude),
    )
    points = run(request)
    rows = rows_of(points)
    claims = claims_of(rows, request.scores[0])
    stem = Path(request.out) / "compare"
    write_text(stem.with_suffix(".json"), json_of(points, rows, claims))
    plots = write_plots(rows, stem)
    write_text(stem.with_suffix(".md"), markdown_of(rows, claims, plots[-1].name))
    return CompareResult(request, points, rows, claims)
