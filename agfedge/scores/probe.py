"""A probe in a torch graph: nothing changes, but the gradient that flows back is shown in passing."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    # Takes a value and the gradient with respect to it.
    Felt = Callable[[torch.Tensor, torch.Tensor], None]


def probed(value: torch.Tensor, leaf: torch.Tensor, felt: Felt) -> torch.Tensor:
    """Returns a value unchanged; as the backward pass comes by, `felt` is told.

    Args:
        value: of floating point.
        leaf: requires a gradient; asking autograd for its gradient brings the backward pass to every probe on it.
        felt: is given the value and its gradient, which are not kept.
    """
    made: torch.Tensor = _function().apply(value, leaf, felt)  # type: ignore[no-untyped-call]  # torch's own
    return made


@cache
def _function() -> type[torch.autograd.Function]:
    import torch

    class Probe(torch.autograd.Function):
        @staticmethod
        def forward(
            ctx: torch.autograd.function.FunctionCtx, value: torch.Tensor, _leaf: torch.Tensor, felt: Felt
        ) -> torch.Tensor:
            ctx.save_for_backward(value)
            ctx.felt = felt  # type: ignore[attr-defined]  # a context takes what one gives it
            return value.view_as(value)

        @staticmethod
        def backward(
            ctx: torch.autograd.function.FunctionCtx, gradient: torch.Tensor
        ) -> tuple[torch.Tensor, None, None]:
            (value,) = ctx.saved_tensors  # type: ignore[attr-defined]
            ctx.felt(value.detach(), gradient)  # type: ignore[attr-defined]
            return gradient, None, None

    return Probe
