"""What a student is taught with: which samples, how they are changed, and what the heavy expert answers.

Images may be mirrored left to right and shifted, which keeps their class: the changes of the CIFAR networks of He et
al. (arXiv:1512.03385, section 4.2), four zero pixels on each side of 32, a random crop of the old size, and its mirror
image half of the time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from agfedge_runtime.errors import InputError

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from agfedge.base.distributed import Team
    from agfedge.recover.hardware import Hardware
    from agfedge.recover.options import Recovery

    # Inputs (B, ...), labels (B,), the heavy expert's logits (B, classes).
    Lesson = tuple[torch.Tensor, torch.Tensor, torch.Tensor]

# Samples at a time where nothing is learned.
BATCH = 256
# Of the side, by which an image moves at most.
SHIFT = 1 / 8


def held_out(count: int, recovery: Recovery) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Divides `count` training samples into rows that are held out, to judge with, and rows to train on."""
    order = np.random.default_rng(recovery.seed).permutation(count)
    held = max(1, round(recovery.validation * count))
    return order[:held], order[held:]


def shuffled(rows: NDArray[np.int64], seed: int, epoch: int) -> NDArray[np.int64]:
    """Returns rows in an epoch's own order."""
    return rows[np.random.default_rng((seed, epoch)).permutation(len(rows))]


def cut(order: NDArray[np.int64], size: int, least: int = 2) -> list[NDArray[np.int64]]:
    """Cuts rows into batches of `size`; a last batch below `least` joins the one before.

    Batch normalisation needs two samples, in each process that shares a batch.
    """
    starts = list(range(0, max(1, len(order) - least + 1), size))
    return np.split(order, starts[1:])


@dataclass(frozen=True)
class Changes:
    """What is done to each image of a batch.

    Attributes:
        mirrored: whether it is mirrored left to right, bool (B,).
        down: by how many pixels the crop starts lower than the padded image, int64 (B,).
        right: likewise to the right.
        border: zero pixels (height, width) on each side before the crop.
    """

    mirrored: NDArray[np.bool_]
    down: NDArray[np.int64]
    right: NDArray[np.int64]
    border: tuple[int, int]

    def take(self, rows: slice) -> Changes:
        """Returns the changes of some of the images."""
        return Changes(self.mirrored[rows], self.down[rows], self.right[rows], self.border)


def draw_changes(augment: str, count: int, height: int, width: int, seed: tuple[int, ...]) -> Changes:
    """Draws changes for `count` images of `height` x `width` pixels; the same seed draws the same."""
    generator = np.random.default_rng(seed)
    mirrored = generator.random(count) < 0.5
    crops = augment == "flip-crop"
    border = (round(height * SHIFT), round(width * SHIFT)) if crops else (0, 0)
    down, right = (generator.integers(0, 2 * each + 1, count) for each in border)
    return Changes(mirrored, down, right, border)


def change(x: torch.Tensor, changes: Changes) -> torch.Tensor:
    """Returns changed images (B, C, H, W), channels last in memory; one gather does it all."""
    import torch

    height, width = x.shape[2:]
    tall, wide = changes.border
    padded = torch.nn.functional.pad(x, (wide, wide, tall, tall)) if tall or wide else x
    columns = np.where(changes.mirrored[:, None], np.arange(width)[::-1], np.arange(width)) + changes.right[:, None]
    rows = np.arange(height) + changes.down[:, None]
    images = torch.arange(len(x))[:, None, None]
    taken = padded[images, :, torch.from_numpy(rows)[:, :, None], torch.from_numpy(columns)[:, None, :]]
    return taken.permute(0, 3, 1, 2)


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
        answers: the heavy expert's logits.
        teacher: the heavy expert, where it answers augmented images itself.
    """

    inputs: torch.Tensor
    labels: torch.Tensor
    answers: HeavyOutputs
    teacher: torch.nn.Module | None
    recovery: Recovery
    hardware: Hardware
    team: Team

    def lesson(self, batch: NDArray[np.int64], epoch: int, number: int) -> Lesson:
        """Returns this process' share of a batch, on the device: the augmentation is that of the whole batch."""
        import torch

        share = slice(self.team.rank, None, self.team.size)
        rows = torch.from_numpy(batch[share])
        x, y, answers = self.inputs[rows], self.labels[rows], self.answers.plain[rows]
        if self.recovery.augment != "none":
            changes = draw_changes(
                self.recovery.augment, len(batch), x.shape[2], x.shape[3], (self.recovery.seed, epoch, number)
            ).take(share)
            x = change(x, changes)
            if self.answers.mirrored is not None:
                turned = torch.from_numpy(changes.mirrored)[:, None]
                answers = torch.where(turned, self.answers.mirrored[rows], answers)
        x = self.hardware.take(x)
        if self.teacher is not None:
            with torch.no_grad(), self.hardware.autocast():
                answers = self.teacher(x).float()
        return x, y.to(self.hardware.device), answers.to(self.hardware.device)


def make_lessons(
    teacher: torch.nn.Module,
    data: tuple[torch.Tensor, torch.Tensor],
    recovery: Recovery,
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
    answers = answers or ask(teacher, inputs, recovery, hardware, team)
    check_labels(labels, answers.plain.shape[1])
    asks = recovery.teach_augmented and recovery.augment != "none"
    return Lessons(inputs, labels, answers, teacher if asks else None, recovery, hardware, team)


def ask(
    teacher: torch.nn.Module, inputs: torch.Tensor, recovery: Recovery, hardware: Hardware, team: Team
) -> HeavyOutputs:
    """Runs the heavy expert over the training inputs, and over their mirror images where they will be needed.

    Raises:
        InputError: answers that are not finite, or an augmentation of what is no image.
    """
    import torch

    if recovery.augment != "none" and inputs.ndim != 4:
        raise InputError(
            f"augment {recovery.augment!r} needs images (N, C, H, W): the inputs are {tuple(inputs.shape)}"
        )
    answers = shared_logits(teacher, inputs, hardware, team)
    if not torch.isfinite(answers).all():
        row = int((~torch.isfinite(answers)).any(1).nonzero()[0])
        raise InputError(f"the heavy expert answers sample {row} with NaN or infinity: check the weights and the data")
    needed = recovery.augment != "none" and not recovery.teach_augmented
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
