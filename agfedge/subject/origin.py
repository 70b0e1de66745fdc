"""What comes in, as a user names it: a model, its weights, its data and how they are normalised."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agfedge_runtime.errors import InputError

if TYPE_CHECKING:
    import torch

    from agfedge.data.arrays import DataLike


@dataclass(frozen=True)
class Origin:
    """A model and its data, as the options of the same names give them."""

    model: torch.nn.Module | str
    data: DataLike
    weights: str | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    def check(self) -> None:
        """Refuses means and deviations that are no numbers.

        Raises:
            InputError: one is NaN or infinite.
        """
        for name, values in (("--mean", self.mean), ("--std", self.std)):
            wrong = [each for each in values or () if not math.isfinite(each)]
            if wrong:
                raise InputError(f"{name} holds {wrong[0]}: expected numbers")

    @property
    def name(self) -> str:
        """Of the model, without the path of its file."""
        return self.model.rpartition("/")[2] if isinstance(self.model, str) else type(self.model).__name__
