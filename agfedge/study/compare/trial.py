"""One trial: channels leave by a plan; accuracy is measured as the graph is then, re-estimated, and recovered."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from agfedge.recover import heavy_answers, make_student, recover, reestimate
from agfedge.recover.hardware import hardware_for, laid_out
from agfedge.recover.lessons import logits_of
from agfedge.study.compare.points import HEAVY, SCRATCH, ComparePoint
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
class ScoreTrial:
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

    def heavy(self) -> ComparePoint:
        """Measures the unpruned model."""
        costs = graph_costs(self.subject.exported.model)
        accuracy = self._accuracy(self.subject.module)
        return ComparePoint(HEAVY, 1.0, 0, len(self.test_y), costs.macs, costs.parameters, accuracy)

    def light(self, score: str, share: float, seed: int, keep: Keep, recovers: bool) -> ComparePoint:
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

    def scratch(self, share: float, seed: int, keep: Keep) -> ComparePoint:
        """Trains the same small architecture from random weights, as long and as taught as recovery is."""
        student, point = self._student(SCRATCH, share, seed, keep)
        reinitialise(student, seed)
        return self._recovered(point, student)

    def _student(self, score: str, share: float, seed: int, keep: Keep) -> tuple[Student, ComparePoint]:
        subject = self.subject
        plan = make_plan(subject.groups, keep)
        pruned = prune(subject.exported.model, plan).model
        probe = subject.x[:: max(1, len(subject.x) // PROBES)][:PROBES]
        student = make_student(subject.module, plan, pruned, probe, subject.exported.program)
        costs = graph_costs(pruned)
        return student, ComparePoint(score, share, seed, len(self.test_y), costs.macs, costs.parameters)

    def _recovered(self, point: ComparePoint, student: Student) -> ComparePoint:
        subject = self.subject
        recovery = replace(self.recovery, seed=point.seed)
        y, answers = subject.data.train.y, self.heavy_answers
        report = recover(student, subject.module, subject.x, y, recovery, answers=answers)
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


def reinitialise(student: Student, seed: int) -> None:
    """Gives a student random weights, in place.

    Weights of two and more dimensions are drawn as torch's own convolutions and linear layers draw them (He et al.,
    arXiv:1502.01852, uniform over the fan-in). Normalisations become the identity, biases zero. What a masked student
    may not use stays zero.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in student.module.state_dict(keep_vars=True).items():
            if value.is_floating_point():
                _fill(name, value, generator)
    student.hold()


def _fill(name: str, value: torch.Tensor, generator: torch.Generator) -> None:
    leaf = name.rpartition(".")[2]
    if leaf == "running_var" or (leaf == "weight" and value.ndim == 1):
        value.fill_(1.0)
    elif value.ndim < 2:
        value.zero_()
    else:
        bound = (1 / max(1, value[0].numel())) ** 0.5
        value.uniform_(-bound, bound, generator=generator)
