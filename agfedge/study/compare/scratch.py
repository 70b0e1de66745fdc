"""The same small architecture with random weights: what pruning must beat to be worth its trouble."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from agfedge.recover import Student


def reinitialise(student: Student, seed: int) -> None:
    """Gives a student random weights, in place.

    Weights of two and more dimensions are drawn as torch's own convolutions and linear layers draw them (He et al.,
    arXiv:1502.01852, uniform over the fan-in). Normalisations become the identity, biases zero. What a masked student
    may not use stays zero.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in student.module.state_dict(keep_vars=True).items():
            if value.is_floating_point():
                _fill(name, value, generator)
    student.hold()


def _fill(name: str, value: torch.Tensor, generator: torch.Generator) -> None:
    leaf = name.rpartition(".")[2]
    if leaf == "running_var" or (leaf == "weight" and value.ndim == 1):
        value.fill_(1.0)
    elif value.ndim < 2:
        value.zero_()
    else:
        bound = (1 / max(1, value[0].numel())) ** 0.5
        value.uniform_(-bound, bound, generator=generator)
