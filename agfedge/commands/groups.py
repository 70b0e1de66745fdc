"""Options that go together, read from the arguments of any function that takes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from agfedge.allocate import AllocationRequest
from agfedge.commands.options import numbers_of, path_of
from agfedge.recover.options import Recovery
from agfedge.subject.origin import Origin


def origin_of(arguments: Mapping[str, Any]) -> Origin:
    """Returns the model and its data."""
    given = arguments
    return Origin(
        given["model"],
        given["data"],
        path_of(given["weights"]),
        numbers_of(given["mean"]),
        numbers_of(given["std"]),
    )


def amount_of(arguments: Mapping[str, Any]) -> AllocationRequest:
    """Returns how much stays."""
    given = {**arguments, "target": path_of(arguments["target"])}
    return AllocationRequest(**{each.name: given[each.name] for each in fields(AllocationRequest)})


def recovery_of(arguments: Mapping[str, Any], seed: int = 0) -> Recovery:
    """Returns how the light expert is fine-tuned.

    Raises:
        InputError: an unknown augmentation or precision, or a patience below one.
    """
    named = ("epochs", "batch_size", "learning_rate", "distillation", "augment", "patience")
    return Recovery(**{name: arguments[name] for name in named}, precision=arguments["training_precision"], seed=seed)
