"""The light expert: a small graph, proved against the masked one, with recovered weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from agfedge.allocate import AllocationRequest, asked, plan_model
from agfedge.distributed import Team
from agfedge.group_names import select
from agfedge.per_layer import read_per_layer
from agfedge.recover import Recovery, RecoveryReport, make_student, recover, write_back
from agfedge.scores import score_groups
from agfedge_export import CheckReport, Plan, SurgeryError, mask
from agfedge_export.check import TOLERANCE, compare
from agfedge_export.split import groups_of_trunk, trunk_parameters

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

    from agfedge.allocate import Spent
    from agfedge.scores import Scores
    from agfedge.subject import Subject
    from agfedge_export.split import Cut

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
    how: Recovery,
    checkpoint: Path | None = None,
    team: Team | None = None,
    trunk: Cut | None = None,
    exclude: Sequence[str] = (),
    per_layer: Path | None = None,
) -> LightExpert:
    """Prunes a light expert out of a model and fine-tunes it.

    Args:
        subject: the model, its graph and its data.
        scores: of its channels.
        amount: how much stays.
        how: the fine-tuning; none with 0 epochs.
        checkpoint: file that keeps the fine-tuning's progress until it is done, or None.
        team: the processes that train together; None for this one alone.
        trunk: where the experts part; what lies before stays whole, and as it is in training.
        exclude: names or globs of groups, or of their parameters, that stay whole.
        per_layer: TOML file with other amounts for some groups, or None.

    Raises:
        InputError: the amount or the data does not fit.
        SurgeryError: the pruned graph differs from the masked one, or cannot be trained.
    """
    heavy, wanted = subject.exported.model, asked(amount)
    whole = select(exclude, subject.groups, "--exclude") if exclude else frozenset()
    if trunk is not None:
        whole |= groups_of_trunk(subject.groups, heavy, trunk)
    frozen = frozenset() if trunk is None else trunk_parameters(heavy, trunk)
    amounts = {} if per_layer is None else read_per_layer(per_layer, subject.groups)
    planned = plan_model(heavy, subject.groups, scores, wanted.of_groups(amounts, whole), wanted.budget)
    probe = subject.x[np.unique(np.linspace(0, len(subject.x) - 1, PROBES).astype(np.int64))]
    check = _proved(heavy, planned.model, planned.plan, probe)
    light, recovery = planned.model, NO_RECOVERY
    if how.epochs:
        student = make_student(subject.module, planned.plan, planned.model, probe, subject.exported.program, frozen)
        y = subject.data.train.y
        recovery = recover(student, subject.module, subject.x, y, how, checkpoint=checkpoint, team=team)
        light = write_back(student, planned.model, probe)
    return LightExpert(light, planned.plan, check, recovery, planned.spent)


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
