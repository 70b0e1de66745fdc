"""Pruning a bare ONNX file: load, analyse, score, allocate, plan, surgery, check, write. No torch, no data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agfedge.allocate import AllocationRequest, GroupChoice, plan_model
from agfedge.base.progress import stages
from agfedge.base.requests import check_file, check_given, check_seed, suggestion
from agfedge.pages.tables import Result, Table, kept_table, plain
from agfedge.scores import ScoreInputs, bare_score_names, score_groups
from agfedge.scores.files import read_scores, scores_of_arrays, split_spec
from agfedge_export import ModelError, SurgeryError, analyse, check, graph_costs, load_model, mask
from agfedge_export.graph.model_io import write_model
from agfedge_export.surgery.check import compare, trial_inputs
from agfedge_runtime.atomic import write_text
from agfedge_runtime.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import numpy as np
    import onnx
    from numpy.typing import NDArray

    from agfedge.allocate import Planned, Spent
    from agfedge.scores import Scores
    from agfedge_export import ChannelGroups, CheckReport, GraphCosts, Plan


# Of more groups no bars are shown: `agfedge inspect --plan` shows them.
MOST_BARS = 40


@dataclass(frozen=True)
class PruneRequest:
    """The options of `agfedge.prune`; where arrays were given for a score's name, `scores` holds them."""

    model: str | onnx.ModelProto
    out: str | None
    amount: AllocationRequest
    score: str
    scores: Mapping[str, NDArray[np.generic]] | None
    seed: int
    choice: GroupChoice
    save_plan: str | None
    check: bool
    inexact: bool

    @property
    def name(self) -> str:
        """The model, in messages."""
        return self.model if isinstance(self.model, str) else "the model"


@dataclass(frozen=True, eq=False, repr=False)
class PruneResult(Result):
    """A pruned model, and what was removed.

    Attributes:
        request: what was asked for.
        model: the pruned graph.
        before: the given graph.
        after: the pruned one.
        plan: what was removed, and why the rest stayed.
        check: how far the pruned graph lies from the masked original; None where that was not asked for.
        spent: what the budget counted; None where there was none.
    """

    request: PruneRequest
    model: onnx.ModelProto
    before: GraphCosts
    after: GraphCosts
    plan: Plan
    check: CheckReport | None
    spent: Spent | None

    def to_dict(self) -> dict[str, Any]:
        """Returns what `agfedge prune --json` prints."""
        return {
            "out": self.request.out,
            "plan": self.request.save_plan,
            "model_sha256": self.plan.model_sha256,
            "before": plain(self.before),
            "after": plain(self.after),
            "check": plain(self.check),
            "budget": plain(self.spent),
            "inexact": self.request.inexact,
            "groups": [{"name": each.name, "size": each.size, "kept": len(each.keep)} for each in self.plan.groups],
            "kept_whole": plain(self.plan.kept_whole),
        }

    def blocks(self) -> Iterator[str | Table]:
        """Gives the sizes, what each group keeps where they differ, and how the result was checked."""
        request, groups = self.request, self.plan.groups
        yield Table(
            ("model", "KiB", "MMACs", "parameters"),
            [
                (name, *size_cells(facts))
                for name, facts in ((request.name, self.before), (request.out or "pruned", self.after))
            ],
        )
        yield ""
        differ = request.amount.budget is not None or request.amount.allocation == "global"
        if differ and len(groups) <= MOST_BARS:
            yield kept_table(groups)
            yield ""
        cut = [(group.size - len(group.keep), group.size) for group in groups]
        yield (
            f"removed {sum(gone for gone, _ in cut):,} of {sum(size for _, size in cut):,} channels, from "
            f"{sum(gone > 0 for gone, _ in cut)} of {len(groups)} groups"
        )
        if self.spent is not None:
            yield self.spent.in_words()
        yield self._checked()
        if self.plan.kept_whole:
            yield f"{len(self.plan.kept_whole)} axes stay whole: `agfedge inspect` says why"
        if request.save_plan is not None:
            yield f"plan: {request.save_plan}"
        if request.out is None:
            yield "nothing was written: --out names the file"

    def _checked(self) -> str:
        if self.check is None:
            return "not checked (--no-check)"
        distance = f"{self.check.max_relative_error:.1e} of the output's scale apart on {self.check.inputs} inputs"
        return (
            f"inexact: removed and masked lie {distance}"
            if self.request.inexact
            else f"removed equals masked: {distance}"
        )


def prune_model(request: PruneRequest) -> PruneResult:
    """Prunes an ONNX model, compares the result with the masked original, and writes it whole if a file is named.

    Raises:
        AgfedgeError: the model or an option does not fit, or the check failed; nothing was written.
    """
    check_request(request)
    with stages("prune", ("read", "plan", "check", "write"), quick_s=5.0) as step:
        step()
        model = load_model(request.model)
        step()
        planned = make_prune_plan(model, request)
        plan, pruned = planned.plan, planned.model
        step()
        report = _compared(model, pruned, plan, request) if request.check else None
        step()
        result = PruneResult(request, pruned, graph_costs(model), graph_costs(pruned), plan, report, planned.spent)
        if request.save_plan is not None:
            write_text(Path(request.save_plan), plan.to_json())
        if request.out is not None:
            write_model(Path(request.out), pruned)
    return result


def check_request(request: PruneRequest) -> None:
    """Refuses what can be told wrong before the model is read.

    Raises:
        InputError: names the option, what it is and what was expected.
    """
    request.amount.check()
    check_seed(request.seed)
    scores = split_spec(request.score)
    if request.scores is None and scores is None and request.score not in bare_score_names():
        known = bare_score_names()
        raise InputError(
            f"--score is {request.score!r}{suggestion(request.score, known)}: a bare graph can be scored by "
            f"{', '.join(known)} or by an .npz file"
        )
    scores_file = None if scores is None else str(scores[0])
    check_given("--score", scores_file)
    request.choice.check()
    read = [path for path in (scores_file, request.choice.per_layer) if path is not None]
    if request.out is not None:
        check_file("--out", request.out, taken=read)
    if request.save_plan is not None:
        written = [each for each in (request.model, request.out) if isinstance(each, str)]
        check_file("--save-plan", request.save_plan, taken=[*read, *written])


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
            f"no channel of {request.name} can be removed exactly: {first}; `agfedge inspect` lists what holds it"
        )
    whole = request.choice.whole(groups)
    chosen = frozenset(group.name for group in groups.groups) - whole
    if not chosen:
        raise InputError(
            f"--only and --exclude leave none of the {len(whole)} channel groups: list them with `agfedge inspect`"
        )
    amount = request.amount.amount()
    allocation = amount.of_groups(request.choice.amounts(groups), whole)
    return plan_model(model, groups, _scores(model, groups, chosen, request), allocation, amount.budget)


def _scores(model: onnx.ModelProto, groups: ChannelGroups, chosen: frozenset[str], request: PruneRequest) -> Scores:
    if request.scores is not None:
        return scores_of_arrays("score", request.scores, groups, model, chosen)
    scores = split_spec(request.score)
    if scores is not None:
        return read_scores(scores[0], groups, model, chosen, scores[1])
    return score_groups(request.score, ScoreInputs(groups, model, seed=request.seed))


def size_cells(costs: GraphCosts) -> tuple[str, str, str]:
    """Returns KiB, MMACs and parameters as tables show them."""
    return f"{costs.size_bytes / 1024:,.0f}", f"{costs.macs / 1e6:,.2f}", f"{costs.parameters:,}"


def _compared(model: onnx.ModelProto, pruned: onnx.ModelProto, plan: Plan, request: PruneRequest) -> CheckReport:
    """Compares removed with masked; where norms were crossed on request, only to say how far they lie apart."""
    masked = mask(model, plan)
    try:
        if request.inexact:
            return compare(masked, pruned, trial_inputs(masked, request.seed))
        return check(masked, pruned, request.seed)
    except ModelError as error:
        raise ModelError(f"the result cannot be checked: {error}; --no-check writes it unchecked") from error
