"""How recovery trains, and what it did: plain data."""

from __future__ import annotations

from dataclasses import dataclass

from agfedge.base.requests import check_seed
from agfedge_runtime.errors import InputError

AUGMENTS = ("none", "flip", "flip-crop")
PRECISIONS = ("auto", "float32", "bfloat16", "float16")


@dataclass(frozen=True)
class Recovery:
    """How to fine-tune.

    Attributes:
        epochs: passes over the training split; 0 changes nothing.
        learning_rate: AdamW's, at the start of a cosine that falls to 0 with the last batch.
        distillation: weight `a` of the heavy expert's answers.
        temperature: T of the distillation.
        validation: share of the training split that picks the best epoch.
        warm_up: share of all batches over which the learning rate rises.
        gradient_norm: longer gradients are shortened to it; None for no limit.
        patience: training stops after so many epochs without a better one; None for never.
        augment: "none"; "flip", mirrored left to right for half of the images (wrong for digits and letters); or
            "flip-crop", which also shifts them by up to an eighth of their side.
        teach_augmented: whether the heavy expert answers the augmented images themselves, at the cost of running it on
            every batch. Otherwise its answers to the plain and the mirrored images are computed once.
        precision: "float32", "bfloat16", "float16" or "auto": on a GPU bfloat16 where it has it, else float16; on the
            CPU float32.
    """

    epochs: int = 10
    batch_size: int = 128
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    distillation: float = 0.5
    temperature: float = 4.0
    validation: float = 0.1
    seed: int = 0
    warm_up: float = 0.05
    gradient_norm: float | None = 5.0
    patience: int | None = 10
    augment: str = "none"
    teach_augmented: bool = False
    precision: str = "auto"

    def __post_init__(self) -> None:
        """Checks what has few values.

        Raises:
            InputError: an unknown augmentation or precision, or a patience below one.
        """
        if self.augment not in AUGMENTS:
            raise InputError(f"augment is {self.augment!r}: choose {', '.join(AUGMENTS)}")
        if self.precision not in PRECISIONS:
            raise InputError(f"precision is {self.precision!r}: choose {', '.join(PRECISIONS)}")
        if self.patience is not None and self.patience < 1:
            raise InputError(f"patience is {self.patience} epochs: give at least 1, or None to never stop early")

    def check(self) -> None:
        """Refuses what can never work.

        Raises:
            InputError: epochs below none, or a seed that no generator takes.
        """
        if self.epochs < 0:
            raise InputError(f"--epochs is {self.epochs}: expected 0 or more")
        check_seed(self.seed)


@dataclass(frozen=True)
class RecoveryReport:
    """What the fine-tuning did.

    Attributes:
        kind: what was trained: "slimmed", "slimmed program", "masked", or "none" without epochs.
        best_epoch: counted from 1; 0 when no epoch beat the start.
        validation_accuracy: at the start and after each epoch; fewer epochs than asked for where it stopped early.
        reason: for "slimmed program" and "masked", why the module could not be slimmed.
        loss: the mean of each epoch.
    """

    kind: str
    best_epoch: int
    validation_accuracy: tuple[float, ...]
    reason: str = ""
    loss: tuple[float, ...] = ()
