"""Recovery: the light expert is fine-tuned at its small size, taught by labels and by the heavy expert.

Distillation: Hinton et al., arXiv:1503.02531. The loss is
(1 - a) * cross-entropy + a * T^2 * KL(softmax(heavy / T) || softmax(light / T)).

The learning rate follows a cosine (Loshchilov and Hutter, arXiv:1608.03983, one period), batch by batch, after a short
linear rise.
"""

from __future__ import annotations

import copy
import logging
from dataclasses import replace
from math import cos, pi
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from agfedge.base.distributed import Team
from agfedge.base.progress import bar
from agfedge.recover.checkpoint import Course, fingerprint, load_course, save_course
from agfedge.recover.hardware import Hardware, bring_home, hardware_for, laid_out
from agfedge.recover.lessons import HeavyOutputs, Lessons, ask, cut, held_out, logits_of, make_lessons, shuffled
from agfedge.recover.options import Recovery, RecoveryReport
from agfedge_runtime.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch
    from numpy.typing import NDArray
    from tqdm import tqdm

    from agfedge.recover.student import Student

logger = logging.getLogger(__name__)

_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


def recover(
    student: Student,
    teacher: torch.nn.Module,
    x: NDArray[np.float32],
    y: NDArray[np.int64],
    recovery: Recovery,
    *,
    checkpoint: Path | None = None,
    team: Team | None = None,
    answers: HeavyOutputs | None = None,
) -> RecoveryReport:
    """Fine-tunes the student in place and leaves it at its best epoch, on the CPU.

    Several processes train one student: each takes its share of every batch, and gradients are averaged. Batch norms
    normalise with the statistics of their own process' share (they are not synchronised within a step); their running
    statistics are averaged after each epoch. All processes end with the same weights.

    Args:
        student: the light expert's module.
        teacher: the heavy expert's.
        x: training inputs as the modules take them, float32 (N, ...).
        y: labels, int64 (N,).
        recovery: epochs, rates and the weight of the distillation.
        checkpoint: a file that is written whole after each epoch. Where it is there already and belongs to this very
            recovery, that is continued as if it had never stopped.
        team: the processes that train together; None for this one alone.
        answers: of `heavy_answers`, where several students have one teacher; None to ask it.

    Raises:
        InputError: too few samples, labels outside the head's classes, the loss is not finite (names the epoch and
            batch), or the checkpoint belongs to another recovery.
    """
    import torch

    if recovery.epochs == 0:
        return RecoveryReport("none", 0, ())
    team = team or Team()
    held, training = held_out(len(x), recovery)
    _check_sizes(len(x), len(training), recovery, team)
    mark = {} if checkpoint is None else fingerprint(student, teacher, x, y, recovery, team.size)
    course = None if checkpoint is None else _agreed(load_course(checkpoint, mark), team)
    hardware = hardware_for(recovery.precision, team.rank)
    inputs, labels = torch.from_numpy(x), torch.from_numpy(y)
    placed, where = _placed(teacher, inputs, hardware)
    lessons = make_lessons(placed, (inputs, labels), recovery, where, team, answers)
    trainer = Trainer(student, lessons, laid_out(hardware, student.module, inputs[:2]), held, training)
    course = trainer.train(course, lambda done: _save(checkpoint, done, mark, team))
    trainer.finish(course)
    accuracies, losses = tuple(course.accuracies), tuple(course.losses)
    return RecoveryReport(student.kind, course.best_epoch, accuracies, student.reason, losses)


def _check_sizes(samples: int, training: int, recovery: Recovery, team: Team) -> None:
    if training < 2 * team.size:
        raise InputError(f"{samples} training samples are too few to recover with: give more data, or --epochs 0")
    if team.size > 1 and recovery.batch_size < 2 * team.size:
        size = recovery.batch_size
        raise InputError(f"a batch of {size} is too small for {team.size} processes: two samples for each")


def heavy_answers(teacher: torch.nn.Module, x: NDArray[np.float32], recovery: Recovery) -> HeavyOutputs:
    """Asks the heavy expert once, for the recovery of several students.

    Args:
        teacher: the heavy expert's module.
        x: training inputs as the modules take them, float32 (N, ...).
        recovery: its augmentation says which images, its precision how exactly.
    """
    import torch

    inputs = torch.from_numpy(x)
    teacher, hardware = _placed(teacher, inputs, hardware_for(recovery.precision))
    return ask(teacher, inputs, recovery, hardware, Team())


def _placed(teacher: torch.nn.Module, inputs: torch.Tensor, hardware: Hardware) -> tuple[torch.nn.Module, Hardware]:
    """Returns the heavy expert where it is to answer: it stays where it is, on a GPU a copy of it answers."""
    teacher.eval()
    hardware = laid_out(hardware, teacher, inputs[:2])
    if hardware.device.type != "cpu":
        teacher = copy.deepcopy(teacher)
        hardware.move(teacher)
    return teacher, hardware


def _agreed(course: Course | None, team: Team) -> Course | None:
    """Checks that all processes found the same checkpoint.

    Raises:
        InputError: they did not.
    """
    epoch = course.epoch if course is not None else 0
    if team.sum({"epoch": np.array([float(epoch)])})["epoch"][0] != epoch * team.size:
        raise InputError("the processes do not see the same checkpoint: name a file on a disk that they share")
    return course


def _save(path: Path | None, course: Course, mark: dict[str, str], team: Team) -> None:
    if path is not None and team.leads:
        save_course(path, course, mark)


def learning_rate(recovery: Recovery, step: int, steps: int) -> float:
    """Returns the learning rate of a batch: a linear rise, then a cosine to 0.

    Args:
        recovery: its height, and the share of the rise.
        step: of the batch, from 0.
        steps: of the whole training.
    """
    rise = max(1, round(recovery.warm_up * steps))
    if step < rise:
        return recovery.learning_rate * (step + 1) / rise
    return recovery.learning_rate * (1 + cos(pi * (step - rise + 1) / (steps - rise + 1))) / 2


class Trainer:
    """One recovery in progress."""

    def __init__(
        self,
        student: Student,
        lessons: Lessons,
        hardware: Hardware,
        held: NDArray[np.int64],
        training: NDArray[np.int64],
    ) -> None:
        """Moves the student to the device.

        Args:
            student: to be trained.
            lessons: the data.
            hardware: with the student's layout.
            held: rows that judge.
            training: rows to train on.
        """
        import torch

        hardware.move(student.module)
        masks = {name: mask.to(hardware.device) for name, mask in student.masks.items()}
        self.student = replace(student, masks=masks)
        self.lessons = replace(lessons, hardware=hardware) if lessons.teacher is None else lessons
        self.recovery, self.team, self.hardware = lessons.recovery, lessons.team, hardware
        self.held, self.training = held, training
        self.trained = [value for value in student.module.parameters() if value.requires_grad]
        self.optimizer = torch.optim.AdamW(
            self.trained, lr=self.recovery.learning_rate, weight_decay=self.recovery.weight_decay, fused=True
        )
        self.scaler = torch.amp.GradScaler(hardware.device.type, enabled=hardware.dtype == torch.float16)
        self.batches = len(self._cut(training))

    def train(self, course: Course | None, done: Callable[[Course], None]) -> Course:
        """Trains from where `course` stopped; calls `done` after each epoch."""
        if course is None:
            course = Course([self._accuracy()], [], 0, _copied(self.student.module))
        else:
            self._restore(course)
            logger.info("recovery continues after epoch %d of %d", course.epoch, self.recovery.epochs)
        with bar(
            title="recover",
            unit="batch",
            total=self.recovery.epochs * self.batches,
            initial=course.epoch * self.batches,
            silent=not self.team.leads,
        ) as shown:
            while course.epoch < self.recovery.epochs and not self._stops(course):
                self._epoch(course, shown)
                done(course)
        return course

    def finish(self, course: Course) -> None:
        """Leaves the student at its best epoch, on the CPU, in evaluation mode."""
        self.student.module.load_state_dict(course.best)
        bring_home(self.student.module)

    def _stops(self, course: Course) -> bool:
        if self.recovery.patience is None:
            return False
        better = int(np.argmax(course.accuracies))  # the first of the best: an equal one is no improvement
        return course.epoch - better >= self.recovery.patience

    def _epoch(self, course: Course, shown: tqdm[Any]) -> None:
        epoch = course.epoch + 1
        loss = self._pass(epoch, shown, course.accuracies[-1])
        self._share_statistics()
        accuracy = self._accuracy()
        course.state = _copied(self.student.module)
        course.moments, course.scaler = self._moments(), self.scaler.state_dict()
        if accuracy >= max(course.accuracies):
            course.best_epoch, course.best = epoch, course.state
        course.losses.append(loss)
        course.accuracies.append(accuracy)
        logger.info("epoch %d: loss %.4f, validation accuracy %.4f", epoch, loss, accuracy)

    def _pass(self, epoch: int, shown: tqdm[Any], accuracy: float) -> float:
        """Trains one epoch; returns the mean loss."""
        import torch

        # Dropout draws from torch's generator: by epoch, so that a continued training draws the same.
        torch.manual_seed(int(np.random.SeedSequence((self.recovery.seed, epoch, self.team.rank)).generate_state(1)[0]))
        self.student.train()
        losses = []
        for number, batch in enumerate(self._cut(shuffled(self.training, self.recovery.seed, epoch))):
            losses.append(self._step(batch, epoch, number))
            shown.update()
            shown.set_postfix(
                refresh=False, epoch=epoch, loss=f"{np.mean(losses[-50:]):.3f}", validation=f"{accuracy:.3f}"
            )
        return float(np.mean(losses))

    def _step(self, batch: NDArray[np.int64], epoch: int, number: int) -> float:
        """Trains on one batch; returns its loss, the mean over all processes."""
        import torch

        for group in self.optimizer.param_groups:
            step = (epoch - 1) * self.batches + number
            group["lr"] = learning_rate(self.recovery, step, self.recovery.epochs * self.batches)
        x, labels, answers = self.lessons.lesson(batch, epoch, number)
        with self.hardware.autocast():
            logits = self.student.module(x)
        # The mean over the processes is then the mean over the samples.
        loss = _loss(logits.float(), labels, answers, self.recovery) * (len(x) * self.team.size / len(batch))
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        value = self._averaged(loss.detach())
        if not np.isfinite(value):
            raise InputError(
                f"the loss is {value} in epoch {epoch}, batch {number}: lower the learning rate or check the data"
            )
        self.scaler.unscale_(self.optimizer)
        if self.recovery.gradient_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.trained, self.recovery.gradient_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.student.hold()
        return value

    def _averaged(self, loss: torch.Tensor) -> float:
        """Averages the loss and all gradients over the processes, in one message."""
        import torch

        if self.team.size == 1:
            return float(loss)
        gradients = [value.grad for value in self.trained if value.grad is not None]
        message = torch.cat([loss.reshape(1), *(each.reshape(-1) for each in gradients)])
        self.team.average_([message])
        parts = torch.split(message, [1, *(each.numel() for each in gradients)])
        for gradient, part in zip(gradients, parts[1:], strict=True):
            gradient.copy_(part.view(gradient.shape))
        return float(parts[0])

    def _share_statistics(self) -> None:
        """Averages running statistics: the processes saw different samples."""
        self.team.average_([value for value in self.student.module.buffers() if value.is_floating_point()])

    def _accuracy(self) -> float:
        """Returns the share of the held-out samples that the student has right; each process counts some of them."""
        rows = self.held[self.team.rank :: self.team.size]
        logits = logits_of(self.student.module, self.lessons.inputs[rows], self.hardware)
        right = float((logits.argmax(1) == self.lessons.labels[rows]).sum()) if len(rows) else 0.0
        return float(self.team.sum({"right": np.array([right])})["right"][0]) / len(self.held)

    def _cut(self, order: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        return cut(order, self.recovery.batch_size, 2 * self.team.size)

    def _moments(self) -> dict[str, torch.Tensor]:
        return {
            f"{position}/{name}": self.optimizer.state[value][name].cpu().clone()
            for position, value in enumerate(self.trained)
            if value in self.optimizer.state
            for name in _MOMENTS
        }

    def _restore(self, course: Course) -> None:
        """Puts the student and the optimizer where an earlier training stopped."""
        import torch

        self.student.module.load_state_dict(course.state)
        for position, value in enumerate(self.trained):
            if f"{position}/step" not in course.moments:
                continue
            step, *moments = (course.moments[f"{position}/{name}"] for name in _MOMENTS)
            # Laid out as the parameter is: the fused optimizer walks over both alike.
            laid = [torch.empty_like(value, requires_grad=False).copy_(each) for each in moments]
            kept = dict(zip(_MOMENTS[1:], laid, strict=True))
            self.optimizer.state[value] = {"step": step.to(value.device), **kept}
        if course.scaler:
            self.scaler.load_state_dict(course.scaler)


def _copied(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().cpu().clone() for name, value in module.state_dict().items()}


def _loss(logits: torch.Tensor, labels: torch.Tensor, answers: torch.Tensor, recovery: Recovery) -> torch.Tensor:
    from torch.nn import functional

    hard = functional.cross_entropy(logits, labels)
    soft = functional.kl_div(
        functional.log_softmax(logits / recovery.temperature, dim=1),
        functional.softmax(answers / recovery.temperature, dim=1),
        reduction="batchmean",
    )
    return (1 - recovery.distillation) * hard + recovery.distillation * recovery.temperature**2 * soft
