"""The light expert: a small graph, proved against the masked one, with recovered weights."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from agfedge.allocate import AllocationRequest, GroupChoice, plan_model
from agfedge.base.distributed import Team
from agfedge.light.branch_order import branch_order
from agfedge.recover import Recovery, RecoveryReport, make_student, recover, write_back
from agfedge.scores import score_groups
from agfedge_export import CheckReport, Plan, SurgeryError, mask
from agfedge_export.surgery.check import TOLERANCE, compare
from agfedge_export.trunk.split import groups_of_trunk, trunk_parameters

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

    from agfedge.allocate import Spent
    from agfedge.recover.lessons import HeavyOutputs
    from agfedge.scores import Scores
    from agfedge.subject.subject import Subject
    from agfedge_export.trunk.cuts import Cut

# Real inputs on which graphs and modules are compared, spread over the training split (which may be sorted by class).
PROBES = 64

NO_RECOVERY = RecoveryReport("none", 0, ())


@dataclass(frozen=True)
class LightExpert:
    """A light expert and how it came about.

    Attributes:
        model: its graph, to logits.
        plan: what was removed; None for an expert that was not pruned out of the heavy one.
        check: how far the pruned graph lies from the masked one, on real inputs; None as above.
        recovery: what the fine-tuning did.
        spent: what the plan costs, where a budget was asked for.
    """

    model: onnx.ModelProto
    plan: Plan | None = None
    check: CheckReport | None = None
    recovery: RecoveryReport = NO_RECOVERY
    spent: Spent | None = None

    def plan_summary(self) -> str:
        """Returns how many channels of how many groups went, in words."""
        if self.plan is None:
            return "nothing: it is a model of its own"
        gone = sum(group.size - len(group.keep) for group in self.plan.groups)
        return f"{gone} channels of {len(self.plan.groups)} groups"


def score_subject(subject: Subject, score: str, seed: int, team: Team | None = None) -> Scores:
    """Scores a model's channels on its own training data.

    Raises:
        InputError: an unknown score, or data that does not fit.
    """
    return score_groups(score, replace(subject.score_inputs(seed), team=team or Team()))


def make_light(
    subject: Subject,
    scores: Scores,
    amount: AllocationRequest,
    recovery: Recovery,
    checkpoint: Path | None = None,
    team: Team | None = None,
    trunk: Cut | None = None,
    choice: GroupChoice | None = None,
) -> LightExpert:
    """Prunes a light expert out of a model and fine-tunes it; arguments and errors as of the two steps."""
    pruned = prune_light(subject, scores, amount, trunk, choice, recovery.seed)
    return recover_light(subject, pruned, recovery, checkpoint, team, trunk)


def prune_light(
    subject: Subject,
    scores: Scores,
    amount: AllocationRequest,
    trunk: Cut | None = None,
    choice: GroupChoice | None = None,
    seed: int = 0,
) -> LightExpert:
    """Prunes a light expert out of a model.

    Where branches may go whole, those go first that the loss misses least (`branch_order`).

    Args:
        subject: the model, its graph and its data.
        scores: of its channels.
        amount: how much stays.
        trunk: where the experts part; what lies before stays whole.
        choice: the groups that stay whole, and those that keep other amounts; None for no such groups.
        seed: draws the inputs that branches are judged on.

    Raises:
        InputError: the amount or the data does not fit.
        SurgeryError: the pruned graph differs from the masked one.
    """
    heavy, wanted, choice = subject.exported.model, amount.amount(), choice or GroupChoice()
    whole = choice.whole(subject.groups)
    if trunk is not None:
        whole |= groups_of_trunk(subject.groups, heavy, trunk)
    allocation = wanted.of_groups(choice.amounts(subject.groups), whole)
    drops = wanted.budget is not None and wanted.budget.drop_branches
    branches = branch_order(subject, seed) if drops else None
    planned = plan_model(heavy, subject.groups, scores, allocation, wanted.budget, branches)
    check = _proved(heavy, planned.model, planned.plan, probe_of(subject))
    return LightExpert(planned.model, planned.plan, check, NO_RECOVERY, planned.spent)


def recover_light(
    subject: Subject,
    pruned: LightExpert,
    recovery: Recovery,
    checkpoint: Path | None = None,
    team: Team | None = None,
    trunk: Cut | None = None,
    answers: HeavyOutputs | None = None,
) -> LightExpert:
    """Fine-tunes a light expert.

    Args:
        subject: the model, its graph and its data.
        pruned: of `prune_light`; one that was not pruned out of this model is returned as it is.
        recovery: the fine-tuning; none with 0 epochs.
        checkpoint: file that keeps the fine-tuning's progress until it is done, or None.
        team: the processes that train together; None for this one alone.
        trunk: where the experts part; what lies before stays as it is in training.
        answers: the heavy expert's on the training split, where several light experts learn from them.

    Raises:
        InputError: too few samples, or the loss is not finite.
        SurgeryError: the pruned graph cannot be trained.
    """
    if not recovery.epochs or pruned.plan is None:
        return pruned
    frozen = frozenset() if trunk is None else trunk_parameters(subject.exported.model, trunk)
    probe = probe_of(subject)
    student = make_student(subject.module, pruned.plan, pruned.model, probe, subject.exported.program, frozen)
    data = (subject.x, subject.data.train.y)
    report = recover(student, subject.module, *data, recovery, checkpoint=checkpoint, team=team, answers=answers)
    return replace(pruned, model=write_back(student, pruned.model, probe), recovery=report)


def probe_of(subject: Subject) -> NDArray[np.float32]:
    """Returns a few training inputs as the model takes them, on which graphs and modules are compared."""
    return subject.x[np.unique(np.linspace(0, len(subject.x) - 1, PROBES).astype(np.int64))]


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
