"""What a student is taught with: inputs, labels, and the heavy expert's answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from agfedge.recover.augment import change, draw_changes
from agfedge_runtime.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from agfedge.base.distributed import Team
    from agfedge.recover.hardware import Hardware
    from agfedge.recover.options import Recovery

    # Inputs (B, ...), labels (B,), the heavy expert's logits (B, classes).
    Lesson = tuple[torch.Tensor, torch.Tensor, torch.Tensor]

# Samples at a time where nothing is learned.
BATCH = 256


@dataclass(frozen=True)
class HeavyOutputs:
    """The heavy expert's logits, asked for once.

    Attributes:
        plain: (N, classes).
        mirrored: of the mirrored images, where augmentation needs them.
    """

    plain: torch.Tensor
    mirrored: torch.Tensor | None = None


@dataclass(frozen=True)
class Lessons:
    """The training data.

    Attributes:
        inputs: float32 (N, ...), on the CPU.
        labels: int64 (N,).
        answers: the heavy expert's logits, (N, classes); of the mirrored images in `mirrored`, where they are needed.
        teacher: the heavy expert, where it answers augmented images itself.
    """

    inputs: torch.Tensor
    labels: torch.Tensor
    answers: torch.Tensor
    mirrored: torch.Tensor | None
    teacher: torch.nn.Module | None
    how: Recovery
    hardware: Hardware
    team: Team

    def lesson(self, batch: NDArray[np.int64], epoch: int, number: int) -> Lesson:
        """Returns this process' share of a batch, on the device: the augmentation is that of the whole batch."""
        import torch

        share = slice(self.team.rank, None, self.team.size)
        rows = torch.from_numpy(batch[share])
        x, y, answers = self.inputs[rows], self.labels[rows], self.answers[rows]
        if self.how.augment != "none":
            changes = draw_changes(
                self.how.augment, len(batch), x.shape[2], x.shape[3], (self.how.seed, epoch, number)
            ).take(share)
            x = change(x, changes)
            if self.mirrored is not None:
                answers = torch.where(torch.from_numpy(changes.mirrored)[:, None], self.mirrored[rows], answers)
        x = self.hardware.take(x)
        if self.teacher is not None:
            answers = self._ask(x)
        return x, y.to(self.hardware.device), answers.to(self.hardware.device)

    def _ask(self, x: torch.Tensor) -> torch.Tensor:
        import torch

        if self.teacher is None:
            raise InputError("no heavy expert to ask")
        with torch.no_grad(), self.hardware.autocast():
            logits: torch.Tensor = self.teacher(x)
        return logits.float()


def make_lessons(
    teacher: torch.nn.Module,
    data: tuple[torch.Tensor, torch.Tensor],
    how: Recovery,
    hardware: Hardware,
    team: Team,
    answers: HeavyOutputs | None = None,
) -> Lessons:
    """Asks the heavy expert, once, unless its answers are there.

    Raises:
        InputError: labels outside the head's classes, answers that are not finite, or an augmentation of what is no
            image.
    """
    inputs, labels = data
    answers = answers or ask(teacher, inputs, how, hardware, team)
    check_labels(labels, answers.plain.shape[1])
    asks = how.teach_augmented and how.augment != "none"
    return Lessons(inputs, labels, answers.plain, answers.mirrored, teacher if asks else None, how, hardware, team)


def ask(teacher: torch.nn.Module, inputs: torch.Tensor, how: Recovery, hardware: Hardware, team: Team) -> HeavyOutputs:
    """Runs the heavy expert over the training inputs, and over their mirror images where they will be needed.

    Raises:
        InputError: answers that are not finite, or an augmentation of what is no image.
    """
    import torch

    if how.augment != "none" and inputs.ndim != 4:
        raise InputError(f"augment {how.augment!r} needs images (N, C, H, W): the inputs are {tuple(inputs.shape)}")
    answers = shared_logits(teacher, inputs, hardware, team)
    if not torch.isfinite(answers).all():
        row = int((~torch.isfinite(answers)).any(1).nonzero()[0])
        raise InputError(f"the heavy expert answers sample {row} with NaN or infinity: check the weights and the data")
    needed = how.augment != "none" and not how.teach_augmented
    return HeavyOutputs(answers, shared_logits(teacher, inputs, hardware, team, mirror=True) if needed else None)


def check_labels(labels: torch.Tensor, classes: int) -> None:
    """Checks labels against a head.

    Raises:
        InputError: a label outside its classes.
    """
    for label in (int(labels.min()), int(labels.max())):
        if not 0 <= label < classes:
            raise InputError(f"a label is {label}: the model's head has {classes} classes, 0 to {classes - 1}")


def logits_of(module: torch.nn.Module, inputs: torch.Tensor, hardware: Hardware, mirror: bool = False) -> torch.Tensor:
    """Returns a module's answers in evaluation mode, float32 (N, classes), on the CPU."""
    import torch

    module.eval()
    parts = []
    with torch.no_grad(), hardware.autocast():
        for batch in torch.split(inputs, BATCH):
            x = batch.flip(-1) if mirror else batch
            parts.append(module(hardware.take(x)).float().cpu())
    return torch.cat(parts) if parts else torch.zeros(0, 1)


def shared_logits(
    module: torch.nn.Module, inputs: torch.Tensor, hardware: Hardware, team: Team, mirror: bool = False
) -> torch.Tensor:
    """Returns `logits_of`, each process answering its share of the inputs."""
    import torch

    own = logits_of(module, inputs[team.rank :: team.size], hardware, mirror)
    if team.size == 1:
        return own
    answers = torch.zeros(len(inputs), own.shape[1])
    answers[team.rank :: team.size] = own * team.size
    team.average_([answers])
    return answers
