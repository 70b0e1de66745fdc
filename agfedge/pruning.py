"""Pruning a bare ONNX file: load, analyse, score, allocate, plan, surgery, check, write. No torch, no data."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from agfedge.allocate import Allocation, allocate, check_allocation
from agfedge.export_request import check_seed
from agfedge.group_names import select
from agfedge.per_layer import read_per_layer
from agfedge.scores import ScoreInputs, score_groups
from agfedge.scores.from_file import read_scores
from agfedge_export import ModelError, SurgeryError, analyse, check, graph_costs, load_model, make_plan, mask, prune
from agfedge_export.check import compare, trial_inputs
from agfedge_export.onnx_files import model_bytes, write_model
from agfedge_runtime.atomic import write_text
from agfedge_runtime.errors import InputError

if TYPE_CHECKING:
    import onnx

    from agfedge.scores import Scores
    from agfedge_export import ChannelGroups, CheckReport, Plan

# Those that need neither the torch model nor data.
BARE_SCORES = ("l1", "l2", "random")


@dataclass(frozen=True)
class PruneRequest:
    """What a user asks of `agfedge prune`.

    Attributes:
        model: path of the ONNX file.
        out: path of the pruned one; may be the same.
        keep: share of every group's channels that stay, in (0, 1].
        score: l1, l2, random, or the path of an .npz file.
        seed: of random scores and of the inputs that the check tries.
        align: what stays along every axis of a parameter is a multiple of this.
        exclude: names or globs of groups, or of parameters, that are left alone.
        only: likewise, of those that are pruned; all where empty.
        per_layer: path of a TOML file with other amounts for some groups, or None.
        plan: path of plan.json, or None.
        check: whether the result is compared with the masked original before anything is written.
        inexact: whether norms across channels are pruned, which changes the answers.
    """

    model: str
    out: str
    keep: float = 0.5
    score: str = "l1"
    seed: int = 0
    align: int = 1
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
    """

    before: ModelFacts
    after: ModelFacts
    plan: Plan
    check: CheckReport | None


def prune_file(request: PruneRequest) -> PruneResult:
    """Prunes an ONNX file, compares the result with the masked original, and writes it whole.

    Raises:
        AgfedgeError: the model or an option does not fit, or the check failed; nothing was written.
    """
    check_request(request)
    model = load_model(request.model)
    plan = make_prune_plan(model, request)
    pruned = prune(model, plan).model
    report = _compared(model, pruned, plan, request) if request.check else None
    result = PruneResult(_facts(model), _facts(pruned), plan, report)
    if request.plan is not None:
        write_text(Path(request.plan), plan.to_json())
    write_model(Path(request.out), pruned)
    return result


def check_request(request: PruneRequest) -> None:
    """Refuses what can be told wrong before the model is read.

    Raises:
        InputError: names the option, what it is and what was expected.
    """
    check_allocation(Allocation(request.keep, request.align))
    check_seed(request.seed)
    if not _is_file_of_scores(request) and request.score not in BARE_SCORES:
        raise InputError(
            f"--score is {request.score!r}: a bare graph can be scored by {', '.join(BARE_SCORES)} or by an .npz file"
        )
    named = {"--score": request.score if _is_file_of_scores(request) else None, "--per-layer": request.per_layer}
    for option, path in named.items():
        if path is not None and not Path(path).is_file():
            raise InputError(f"{option} {path}: no such file")
    read = [path for path in named.values() if path is not None]
    _check_target("-o", request.out, taken=read)
    if request.plan is not None:
        _check_target("--plan", request.plan, taken=[*read, request.model, request.out])


def _is_file_of_scores(request: PruneRequest) -> bool:
    return request.score.endswith(".npz")


def _check_target(option: str, path: str, taken: Sequence[str]) -> None:
    target = Path(path)
    if target.is_dir():
        raise InputError(f"{option} {path} is a folder: expected a file's name")
    if not target.parent.is_dir():
        raise InputError(f"{option} {path}: there is no folder {target.parent}; make it first")
    if os.path.realpath(target) in map(os.path.realpath, taken):
        raise InputError(f"{option} {path} would replace another file of this command: choose another name")


def make_prune_plan(model: onnx.ModelProto, request: PruneRequest) -> Plan:
    """Decides which channels of a model stay.

    Raises:
        SurgeryError: no channel of the model can be removed exactly.
        InputError: a name matches nothing, names leave no group, or a file does not fit.
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
    how = Allocation(request.keep, request.align, per_group, whole)
    return make_plan(groups, allocate(groups, _scores(model, groups, chosen, request), how))


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
    if _is_file_of_scores(request):
        return read_scores(Path(request.score), groups, model, chosen)
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
