"""A batch norm whose parameters are held elsewhere. Imports torch: import it inside functions."""

from __future__ import annotations

import torch


class FunctionalNorm(torch.nn.Module):
    """A batch norm that is given its parameters and statistics, for code that had them in no layer of torch's own.

    Attributes:
        momentum: share of a batch in the running statistics.
        epsilon: added to the variance.
        statistics: name of the running mean.
    """

    def __init__(self, momentum: float, epsilon: float, statistics: str) -> None:
        super().__init__()
        self.momentum, self.epsilon, self.statistics = momentum, epsilon, statistics

    def forward(
        self,
        x: torch.Tensor,
        weight: torch.Tensor | None,
        bias: torch.Tensor | None,
        mean: torch.Tensor,
        variance: torch.Tensor,
    ) -> torch.Tensor:
        """Maps (B, C, ...) to the same; in training it updates `mean` and `variance` (C,) in place."""
        return torch.nn.functional.batch_norm(
            x, mean, variance, weight, bias, self.training, self.momentum, self.epsilon
        )
