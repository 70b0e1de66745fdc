"""Pruning a bare ONNX file: load, analyse, score, allocate, plan, surgery, check, write. No torch, no data."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from agfedge.allocate import AllocationRequest, asked, plan_model
from agfedge.export_request import check_seed
from agfedge.group_names import select
from agfedge.per_layer import read_per_layer
from agfedge.scores import ScoreInputs, bare_score_names, score_groups
from agfedge.scores.from_file import read_scores, split_spec
from agfedge_export import ModelError, SurgeryError, analyse, check, graph_costs, load_model, mask
from agfedge_export.check import compare, trial_inputs
from agfedge_export.onnx_files import model_bytes, write_model
from agfedge_runtime.atomic import write_text
from agfedge_runtime.errors import InputError

if TYPE_CHECKING:
    import onnx

    from agfedge.allocate import Planned, Spent
    from agfedge.scores import Scores
    from agfedge_export import ChannelGroups, CheckReport, Plan


@dataclass(frozen=True)
class PruneRequest:
    """What a user asks of `agfedge prune`.

    Attributes:
        model: path of the ONNX file.
        out: path of the pruned one; may be the same.
        amount: how much stays.
        score: one that needs no data, or the path of an .npz file, `:NAME` behind it where it holds several scores.
        seed: of random scores and of the inputs that the check tries.
        exclude: names or globs of groups, or of parameters, that are left alone.
        only: likewise, of those that are pruned; all where empty.
        per_layer: path of a TOML file with other amounts for some groups, or None.
        plan: path of plan.json, or None.
        check: whether the result is compared with the masked original before anything is written.
        inexact: whether norms across channels are pruned, which changes the answers.
    """

    model: str
    out: str
    amount: AllocationRequest = field(default_factory=AllocationRequest)
    score: str = "l1"
    seed: int = 0
    exclude: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    per_layer: str | None = None
    plan: str | None = None
    check: bool = True
    inexact: bool = False


@dataclass(frozen=True)
class ModelFacts:
    """A graph's bytes on disk, multiply-accumulates of one input, and parameters."""

    size_bytes: int
    macs: int
    parameters: int


@dataclass(frozen=True)
class PruneResult:
    """What a pruning made.

    Attributes:
        before: the given graph.
        after: the written one.
        plan: what was removed.
        check: how far the written graph lies from the masked original; None where that was not asked for.
        spent: what the budget counted; None where there was none.
    """

    before: ModelFacts
    after: ModelFacts
    plan: Plan
    check: CheckReport | None
    spent: Spent | None


def prune_file(request: PruneRequest) -> PruneResult:
    """Prunes an ONNX file, compares the result with the masked original, and writes it whole.

    Raises:
        AgfedgeError: the model or an option does not fit, or the check failed; nothing was written.
    """
    check_request(request)
    model = load_model(request.model)
    planned = make_prune_plan(model, request)
    plan, pruned = planned.plan, planned.model
    report = _compared(model, pruned, plan, request) if request.check else None
    result = PruneResult(_facts(model), _facts(pruned), plan, report, planned.spent)
    if request.plan is not None:
        write_text(Path(request.plan), plan.to_json())
    write_model(Path(request.out), pruned)
    return result


def check_request(request: PruneRequest) -> None:
    """Refuses what can be told wrong before the model is read.

    Raises:
        InputError: names the option, what it is and what was expected.
    """
    asked(request.amount)
    check_seed(request.seed)
    scores = split_spec(request.score)
    if scores is None and request.score not in bare_score_names():
        raise InputError(
            f"--score is {request.score!r}: a bare graph can be scored by {', '.join(bare_score_names())} or by an "
            ".npz file"
        )
    named = {"--score": None if scores is None else str(scores[0]), "--per-layer": request.per_layer}
    for option, path in named.items():
        if path is not None and not Path(path).is_file():
            raise InputError(f"{option} {path}: no such file")
    read = [path for path in named.values() if path is not None]
    _check_target("-o", request.out, taken=read)
    if request.plan is not None:
        _check_target("--plan", request.plan, taken=[*read, request.model, request.out])


def _check_target(option: str, path: str, taken: Sequence[str]) -> None:
    target = Path(path)
    if target.is_dir():
        raise InputError(f"{option} {path} is a folder: expected a file's name")
    if not target.parent.is_dir():
        raise InputError(f"{option} {path}: there is no folder {target.parent}; make it first")
    if os.path.realpath(target) in map(os.path.realpath, taken):
        raise InputError(f"{option} {path} would replace another file of this command: choose another name")


def make_prune_plan(model: onnx.ModelProto, request: PruneRequest) -> Planned:
    """Decides which channels of a model stay, and removes the others.

    Raises:
        SurgeryError: no channel of the model can be removed exactly.
        InputError: a name matches nothing, names leave no group, a file does not fit, or a budget cannot be met.
    """
    groups = analyse(model, inexact=request.inexact)
    if not groups.groups:
        first = groups.kept_whole[0].reason if groups.kept_whole else "it has no convolutions or matrix products"
        raise SurgeryError(
            f"no channel of {request.model} can be removed exactly: {first}; see `agfedge inspect {request.model}`"
        )
    chosen = _chosen(groups, request)
    per_group = {} if request.per_layer is None else read_per_layer(Path(request.per_layer), groups)
    whole = frozenset(group.name for group in groups.groups) - chosen
    amount = asked(request.amount)
    how = amount.of_groups(per_group, whole)
    return plan_model(model, groups, _scores(model, groups, chosen, request), how, amount.budget)


def _chosen(groups: ChannelGroups, request: PruneRequest) -> frozenset[str]:
    """Returns the names of the groups that --only and --exclude leave."""
    everything = frozenset(group.name for group in groups.groups)
    asked = select(request.only, groups, "--only") if request.only else everything
    chosen = asked - select(request.exclude, groups, "--exclude")
    if not chosen:
        raise InputError(
            f"--only and --exclude leave none of the {len(everything)} channel groups: list them with "
            f"`agfedge inspect {request.model}`"
        )
    return chosen


def _scores(model: onnx.ModelProto, groups: ChannelGroups, chosen: frozenset[str], request: PruneRequest) -> Scores:
    scores = split_spec(request.score)
    if scores is not None:
        return read_scores(scores[0], groups, model, chosen, scores[1])
    return score_groups(request.score, ScoreInputs(groups, model, seed=request.seed))


def _compared(model: onnx.ModelProto, pruned: onnx.ModelProto, plan: Plan, request: PruneRequest) -> CheckReport:
    """Compares removed with masked; where norms were crossed on request, only to say how far they lie apart."""
    masked = mask(model, plan)
    try:
        if request.inexact:
            return compare(masked, pruned, trial_inputs(masked, request.seed))
        return check(masked, pruned, request.seed)
    except ModelError as error:
        raise ModelError(f"the result cannot be checked: {error}; --no-check writes it unchecked") from error


def _facts(model: onnx.ModelProto) -> ModelFacts:
    costs = graph_costs(model)
    return ModelFacts(model_bytes(model), costs.macs, costs.parameters)
