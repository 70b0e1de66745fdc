"""The options of recovery, alike for every command that fine-tunes."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agfedge.recover import Recovery

RECOVERY_OPTIONS = (
    "epochs",
    "batch_size",
    "learning_rate",
    "distillation",
    "augment",
    "patience",
    "training_precision",
)


def add_recovery(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    group = parser.add_argument_group("recovery")
    group.add_argument("--epochs", type=int, default=10, help="epochs of recovery; 0 for none (default 10)")
    group.add_argument("--batch-size", type=int, metavar="N", help="default 128")
    group.add_argument("--learning-rate", type=float, metavar="RATE", help="at its highest (default 0.001)")
    group.add_argument(
        "--distillation", type=float, metavar="SHARE", help="weight of the heavy expert's answers (default 0.5)"
    )
    group.add_argument(
        "--augment", help="none, flip (left to right; wrong for digits and letters) or flip-crop (default none)"
    )
    group.add_argument("--patience", type=int, metavar="EPOCHS", help="stop after so many without a better one")
    group.add_argument("--training-precision", help="auto, float32, bfloat16 or float16 (default auto)")


def recovery_of(arguments: argparse.Namespace, seed: int = 0) -> Recovery:
    """Returns what was given, the rest by default.

    Raises:
        InputError: an unknown augmentation or precision.
    """
    from agfedge.recover import Recovery

    given = {name: getattr(arguments, name) for name in RECOVERY_OPTIONS}
    given["precision"] = given.pop("training_precision")
    return Recovery(seed=seed, **{name: value for name, value in given.items() if value is not None})
