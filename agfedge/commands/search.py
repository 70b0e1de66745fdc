"""`agfedge.search`: light experts are made and compared as cascades, and the one that is accepted becomes a bundle."""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from agfedge.commands import options as o
from agfedge.commands.arguments import amount_of, choice_of, origin_of, recovery_of
from agfedge.recover.options import Recovery
from agfedge.study.search.report import SearchResult
from agfedge_runtime.errors import InputError

logger = logging.getLogger(__name__)

_SEARCH = {"group": "Search"}


@o.documented
def search(
    model: o.Model,
    data: o.Data,
    out: Annotated[o.PathLike, Parameter(help="Folder of the points, the table, the plot and the JSON.")],
    *,
    weights: o.Weights = None,
    mean: o.Mean = None,
    std: o.Std = None,
    keep: Annotated[
        o.Shares | None,
        Parameter(
            help="Shares of the channels that stay, with commas (default: 0.5,0.25 without --budget or --depth); none "
            "for no pruning.",
            group="How much stays",
            **o.NAMES,
        ),
    ] = None,
    budget: Annotated[
        o.Numbers | None,
        Parameter(help="As well: shares of what the model costs, with commas.", group="How much stays", **o.NUMBERS),
    ] = None,
    depth: Annotated[
        o.Numbers | None,
        Parameter(
            help="Shares of the MACs that stay where whole residual branches go, with commas (default: 0.33,0.2 where "
            "no amount is given and branches may go).",
            group="How much stays",
            **o.NUMBERS,
        ),
    ] = None,
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
    light: o.Lights = (),
    share_trunk: o.ShareTrunks = ("none", "auto"),
    epsilon: o.Epsilon = 0.005,
    delta: o.Delta = 0.05,
    costs: Annotated[
        Literal["measured", "macs", "predicted"] | None,
        Parameter(
            help="What a pass costs: measured on this machine, multiply-accumulates, or predicted for --target "
            "(default: predicted where --target is given, else measured).",
            **_SEARCH,
        ),
    ] = None,
    time_limit: Annotated[
        o.Duration | None,
        Parameter(help="Begin nothing that would take longer than this in all: 90s, 30m or 2h.", **_SEARCH),
    ] = None,
    accept: Annotated[
        str | None, Parameter(help="Make the bundle of this point; best takes the cheapest.", **_SEARCH)
    ] = None,
    bundle: Annotated[o.PathLike | None, Parameter(help="Folder of the accepted point's bundle.", **_SEARCH)] = None,
    seed: o.Seed = 0,
) -> SearchResult:
    """Try light experts and shared trunks, and show what each cascade costs.

    Light experts of several amounts and with several shared trunks are made, cheapest first, and compared with the
    heavy expert. What cannot become cheaper than the best one is not trained. Every point is kept: a search that was
    stopped continues with the same command. Points are compared on a fifth of the calibration split; the bundle of
    the accepted point is certified on the rest.

    Returns:
        The points, the front, and the bundle of the accepted point.

    Raises:
        AgfedgeError: The model, the data or an option does not fit, or the folder holds another search.

    Example:
        >>> found = agfedge.search(model, data, "search", keep=[0.5, 0.25], accept="best", bundle="bundle")
    """
    arguments = dict(locals())
    from agfedge.router import Bound
    from agfedge.study.search import Search
    from agfedge.study.search.request import DEPTHS, KEEPS, SearchRequest, amounts_of

    _check(accept, o.path_of(bundle))
    keeps, budgets, depths = _shares(keep), o.numbers_of(budget) or (), o.numbers_of(depth)
    usual = keeps is None and not budgets
    if keeps is None:
        keeps = KEEPS if usual and not depths else ()
    # The device predicts a budget of latency, and what passes cost; budgets of anything else have no use for it.
    predicts = target if budgets and of in (None, "latency") else None
    rest = amount_of({**arguments, "keep": None, "budget": None, "target": predicts})
    request = SearchRequest(
        origin=origin_of(arguments),
        out=str(out),
        amounts=amounts_of(rest, keeps, budgets),
        depths=depths if depths is not None else DEPTHS if usual else (),
        trunks=o.names_of(share_trunk),
        lights=o.paths_of(light),
        score=score,
        recovery=recovery_of(arguments, seed),
        choice=choice_of(arguments),
        costs=costs,
        target=o.path_of(target),
        time_limit_s=o.seconds_of(time_limit, "--time-limit"),
        bound=Bound(epsilon, delta),
    )
    work = Search(request)
    settled = accept is not None and bundle is not None and work.is_done(accept, str(bundle))
    result = work.result() if settled else work.run()
    _write(result)
    if accept is not None and bundle is not None:
        result = replace(result, accepted=work.accept(accept, str(bundle)))
    for warning in dict.fromkeys((*result.warnings, *(result.accepted.warnings if result.accepted else ()))):
        logger.warning("%s", warning)
    return result


def _check(accept: str | None, bundle: str | None) -> None:
    processes = os.environ.get("WORLD_SIZE", "1")
    if processes != "1":
        raise InputError(f"agfedge search is one process, this is one of {processes}: start it without torchrun")
    if (accept is None) != (bundle is None):
        got, other = ("--accept", "--bundle FOLDER") if bundle is None else ("--bundle", "--accept NAME")
        raise InputError(f"{got} is one of two options: give {other} as well")


def _shares(keep: o.Shares | None) -> tuple[float, ...] | None:
    """Returns the widths; none of them for "none"."""
    if keep is None or isinstance(keep, (int, float)):
        return o.numbers_of(keep)
    words = o.names_of(keep) if isinstance(keep, str) else tuple(keep)
    if words == ("none",):
        return ()
    try:
        return tuple(float(word) for word in words)
    except ValueError as error:
        raise InputError(f"--keep is {','.join(map(str, words))}: expected shares such as 0.5,0.25, or none") from error


def _write(result: SearchResult) -> None:
    from agfedge.study.search.report import json_of, markdown_of, write_plot
    from agfedge_runtime.atomic import write_text

    stem = Path(result.request.out) / "search"
    figures = (result.points, result.request.bound.epsilon, result.cost_note, result.warnings)
    write_text(stem.with_suffix(".json"), json_of(*figures))
    plots = write_plot(result.points, stem)
    write_text(stem.with_suffix(".md"), markdown_of(*figures, plots[-1].name))
