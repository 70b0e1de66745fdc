"""`agfedge.score`: the utility of every channel."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from agfedge.commands import options as o
from agfedge.commands.arguments import origin_of
from agfedge.light.scoring import ScoreRequest, ScoreResult, score_model


@o.documented
def score(
    model: o.Model,
    data: o.Data,
    *,
    weights: o.Weights = None,
    mean: o.Mean = None,
    std: o.Std = None,
    score: o.Scores = ("agf",),
    out: Annotated[o.PathLike | None, Parameter(help="Write the scores to this .npz file, which prune reads.")] = None,
    save_onnx: Annotated[
        o.PathLike | None, Parameter(help="Write the graph that the scores belong to, for prune.")
    ] = None,
    samples: o.Samples = 1024,
    batch_size: Annotated[
        int | None,
        Parameter(help="Inputs at a time, which bounds the memory (default: 64, or all where fewer).", **o.WHOLE),
    ] = None,
    seed: o.Seed = 0,
) -> ScoreResult:
    """Score every channel of a model on its training data.

    Several scores take hardly longer than one. Data that is not divided is split as for an export, and its training
    part is looked at. Under torchrun the processes share the data.

    Returns:
        The scores, as arrays named after the channel groups.

    Raises:
        AgfedgeError: The model, the weights, the data or an option does not fit; nothing was written.

    Example:
        >>> scored = agfedge.score(model, train, score=["agf", "l1"])
        >>> agfedge.prune(scored.model, "light.onnx", score=scored.scores["agf"], keep=0.5)
    """
    arguments = dict(locals())
    from agfedge.base.distributed import team

    request = ScoreRequest(
        origin=origin_of(arguments),
        score=o.names_of(score),
        out=o.path_of(out),
        save_onnx=o.path_of(save_onnx),
        samples=samples,
        batch_size=batch_size,
        seed=seed,
    )
    with team() as together:
        return score_model(request, together)
