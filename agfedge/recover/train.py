"""Recovery: the light expert is fine-tuned at its small size, taught by labels and by the heavy expert.

Distillation: Hinton et al., arXiv:1503.02531. The loss is
(1 - a) * cross-entropy + a * T^2 * KL(softmax(heavy / T) || softmax(light / T)).
"""

from __future__ import annotations

import copy
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from agfedge_runtime.errors import InputError

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from agfedge.recover.student import Student

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recovery:
    """How to fine-tune.

    Attributes:
        epochs: passes over the training split; 0 changes nothing.
        learning_rate: AdamW's, at the start of a cosine.
        distillation: weight `a` of the heavy expert's answers.
        temperature: T of the distillation.
        validation: share of the training split that picks the best epoch.
    """

    epochs: int = 10
    batch_size: int = 128
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    distillation: float = 0.5
    temperature: float = 4.0
    validation: float = 0.1
    seed: int = 0


@dataclass(frozen=True)
class RecoveryReport:
    """What the fine-tuning did.

    Attributes:
        kind: what was trained: "slimmed", "masked", or "none" without epochs.
        reason: for "masked", why the module could not be slimmed.
        best_epoch: counted from 1; 0 when no epoch beat the start.
        validation_accuracy: at the start and after each epoch.
    """

    kind: str
    best_epoch: int
    validation_accuracy: tuple[float, ...]
    reason: str = ""


def recover(
    student: Student, teacher: torch.nn.Module, x: NDArray[np.float32], y: NDArray[np.int64], how: Recovery
) -> RecoveryReport:
    """Fine-tunes the student in place and leaves it at its best epoch.

    Args:
        student: the light expert's module.
        teacher: the heavy expert's.
        x: training inputs as the modules take them, float32 (N, ...).
        y: labels, int64 (N,).
        how: epochs, rates and the weight of the distillation.

    Raises:
        InputError: too few samples, or the loss is not finite (names the epoch and batch).
    """
    import torch

    if how.epochs == 0:
        return RecoveryReport("none", 0, ())
    torch.manual_seed(how.seed)
    validation, training = held_out(len(x), how)
    if len(training) < 2:
        raise InputError(f"{len(x)} training samples are too few to recover with: give more data, or --epochs 0")
    inputs, labels = torch.from_numpy(x), torch.from_numpy(y)
    answers = logits_of(teacher, inputs)
    trained = [value for value in student.module.parameters() if value.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=how.learning_rate, weight_decay=how.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, how.epochs)
    accuracies = [_accuracy(student.module, inputs[validation], labels[validation])]
    best, best_state = 0, copy.deepcopy(student.module.state_dict())
    bar = tqdm(range(1, how.epochs + 1), desc="recover", unit="epoch", disable=None, leave=False)
    for epoch in bar:
        loss = _epoch(student, optimizer, (inputs, labels, answers), training, epoch, how)
        schedule.step()
        accuracies.append(_accuracy(student.module, inputs[validation], labels[validation]))
        bar.set_postfix(loss=f"{loss:.3f}", validation=f"{accuracies[-1]:.3f}")
        if accuracies[-1] >= max(accuracies[:-1]):
            best, best_state = epoch, copy.deepcopy(student.module.state_dict())
    student.module.load_state_dict(best_state)
    student.module.eval()
    return RecoveryReport(student.kind, best, tuple(accuracies), student.reason)


def held_out(count: int, how: Recovery) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Divides `count` training samples into rows that are held out, to judge with, and rows to train on."""
    order = np.random.default_rng(how.seed).permutation(count)
    held = max(1, round(how.validation * count))
    return order[:held], order[held:]


def logits_of(module: torch.nn.Module, inputs: torch.Tensor, batch_size: int = 256) -> torch.Tensor:
    """Returns a module's answers in evaluation mode, (N, classes)."""
    import torch

    module.eval()
    with torch.no_grad():
        return torch.cat([module(batch) for batch in torch.split(inputs, batch_size)])


def _epoch(
    student: Student,
    optimizer: torch.optim.Optimizer,
    data: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    training: NDArray[np.int64],
    epoch: int,
    how: Recovery,
) -> float:
    """Trains one pass; returns the mean loss."""
    import torch

    inputs, labels, answers = data
    student.module.train()
    order = training[np.random.default_rng((how.seed, epoch)).permutation(len(training))]
    losses = []
    for number, chosen in enumerate(_batches(order, how.batch_size)):
        loss = _loss(student.module(inputs[chosen]), labels[chosen], answers[chosen], how)
        if not torch.isfinite(loss):
            raise InputError(
                f"the loss is {loss.item()} in epoch {epoch}, batch {number}: lower the learning rate or check the data"
            )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        student.hold()
        losses.append(loss.item())
    return float(np.mean(losses))


def _batches(order: NDArray[np.int64], size: int) -> list[NDArray[np.int64]]:
    """Cuts rows into batches of `size`; a last batch of one joins the one before: batch normalisation needs two."""
    starts = list(range(0, max(1, len(order) - 1), size))
    return np.split(order, starts[1:])


def _loss(logits: torch.Tensor, labels: torch.Tensor, answers: torch.Tensor, how: Recovery) -> torch.Tensor:
    from torch.nn import functional

    hard = functional.cross_entropy(logits, labels)
    soft = functional.kl_div(
        functional.log_softmax(logits / how.temperature, dim=1),
        functional.softmax(answers / how.temperature, dim=1),
        reduction="batchmean",
    )
    return (1 - how.distillation) * hard + how.distillation * how.temperature**2 * soft


def _accuracy(module: torch.nn.Module, inputs: torch.Tensor, labels: torch.Tensor) -> float:
    return float((logits_of(module, inputs).argmax(1) == labels).float().mean())
