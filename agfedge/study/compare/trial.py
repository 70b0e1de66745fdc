"""One trial: channels leave by a plan; accuracy is measured as the graph is then, re-estimated, and recovered."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from agfedge.recover import heavy_answers, make_student, recover, reestimate
from agfedge.recover.hardware import hardware_for, laid_out
from agfedge.recover.lessons import logits_of
from agfedge.study.compare.points import HEAVY, SCRATCH, Point
from agfedge.study.compare.scratch import reinitialise
from agfedge_export import graph_costs, make_plan, prune

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from agfedge.allocate import Keep
    from agfedge.recover import Recovery, Student
    from agfedge.recover.lessons import HeavyOutputs
    from agfedge.subject.subject import Subject

# Inputs on which a slimmed module is compared with the pruned graph.
PROBES = 16
BATCH = 250


@dataclass(frozen=True)
class Trial:
    """What a point is measured with.

    Attributes:
        subject: the model, its graph and its data.
        test_x: float32 (N, ...), as the model takes them.
        test_y: int64 (N,).
        samples: training inputs that batch-norm re-estimation reads.
        recovery: how light experts are fine-tuned; the seed is each point's own.
    """

    subject: Subject
    test_x: NDArray[np.float32]
    test_y: NDArray[np.int64]
    samples: int
    recovery: Recovery

    @cached_property
    def heavy_answers(self) -> HeavyOutputs:
        """The heavy expert's answers on the training split, which all light experts learn from."""
        return heavy_answers(self.subject.module, self.subject.x, self.recovery)

    def heavy(self) -> Point:
        """Measures the unpruned model."""
        costs = graph_costs(self.subject.exported.model)
        accuracy = self._accuracy(self.subject.module)
        return Point(HEAVY, 1.0, 0, len(self.test_y), costs.macs, costs.parameters, accuracy)

    def light(self, score: str, share: float, seed: int, keep: Keep, recovers: bool) -> Point:
        """Prunes, and measures one-shot, after re-estimation, and after recovery where that is asked for.

        Args:
            score: what chose the channels.
            share: of every group's channels that stay.
            seed: of what is drawn.
            keep: for each group the units that stay.
            recovers: whether it is fine-tuned as well.
        """
        student, point = self._student(score, share, seed, keep)
        one_shot = self._accuracy(student.module)
        reestimate(student, self._calibration(seed), batch_size=BATCH)
        point = replace(point, one_shot=one_shot, reestimated=self._accuracy(student.module))
        return self._recovered(point, student) if recovers else point

    def scratch(self, share: float, seed: int, keep: Keep) -> Point:
        """Trains the same small architecture from random weights, as long and as taught as recovery is."""
        student, point = self._student(SCRATCH, share, seed, keep)
        reinitialise(student, seed)
        return self._recovered(point, student)

    def _student(self, score: str, share: float, seed: int, keep: Keep) -> tuple[Student, Point]:
        subject = self.subject
        plan = make_plan(subject.groups, keep)
        pruned = prune(subject.exported.model, plan).model
        probe = subject.x[:: max(1, len(subject.x) // PROBES)][:PROBES]
        student = make_student(subject.module, plan, pruned, probe, subject.exported.program)
        costs = graph_costs(pruned)
        return student, Point(score, share, seed, len(self.test_y), costs.macs, costs.parameters)

    def _recovered(self, point: Point, student: Student) -> Point:
        subject = self.subject
        how = replace(self.recovery, seed=point.seed)
        y, answers = subject.data.train.y, self.heavy_answers
        report = recover(student, subject.module, subject.x, y, how, answers=answers)
        accuracy = self._accuracy(student.module)
        return replace(point, recovered=accuracy, training=report.kind, epochs=report.best_epoch)

    def _calibration(self, seed: int) -> NDArray[np.float32]:
        order = np.random.default_rng(seed).permutation(len(self.subject.x))
        return self.subject.x[order[: self.samples]]

    def _accuracy(self, module: torch.nn.Module) -> float:
        """Returns the share of test inputs that a module answers rightly."""
        import torch

        module.eval()
        x = torch.from_numpy(self.test_x)
        logits = logits_of(module, x, laid_out(hardware_for("float32"), module, x[:2]))
        return float((logits.argmax(1).numpy() == self.test_y).mean())
