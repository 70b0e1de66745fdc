"""Several processes that share one job: `torchrun --nproc-per-node N`, unchanged.

Each process takes every N-th batch; sums are added up over all of them, so that every process holds the same result.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Team:
    """The processes of one job.

    Attributes:
        rank: of this one, from 0.
        size: how many there are.
    """

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes files and prints."""
        return self.rank == 0

    def sum(self, arrays: Mapping[str, NDArray[np.float64]]) -> dict[str, NDArray[np.float64]]:
        """Adds up arrays of the same names and shapes over all processes."""
        if self.size == 1:
            return dict(arrays)
        import torch

        tensors = {name: torch.from_numpy(value.copy()) for name, value in sorted(arrays.items())}
        for tensor in tensors.values():
            _reduced(tensor)
        return {name: tensors[name].cpu().numpy() for name in arrays}

    def average_(self, tensors: list[torch.Tensor]) -> None:
        """Replaces tensors (gradients, running statistics) by their means over all processes, in place."""
        if self.size > 1:
            for tensor in tensors:
                tensor.copy_(_reduced(tensor.clone()) / self.size)

    def wait(self) -> None:
        """Waits until every process is here."""
        if self.size > 1:
            import torch.distributed

            torch.distributed.barrier()


@contextlib.contextmanager
def team() -> Iterator[Team]:
    """Joins the processes that torchrun started (gloo on the CPU, nccl on GPUs); a team of one without torchrun."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Team()
        return
    import torch.distributed

    # Its functions have the group as a default: imported while there is one (torch.export does), they hold it for good.
    # Then gloo's threads live on as Python ends, and where one still holds a tensor it aborts the process.
    import torch.distributed.nn.functional

    torch.distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield Team(torch.distributed.get_rank(), torch.distributed.get_world_size())
    finally:
        torch.distributed.destroy_process_group()


def _reduced(tensor: torch.Tensor) -> torch.Tensor:
    """Adds up a tensor over all processes, in place; nccl takes tensors of its GPU alone."""
    import torch.distributed

    if torch.distributed.get_backend() != "nccl" or tensor.is_cuda:
        torch.distributed.all_reduce(tensor)
        return tensor
    moved = tensor.cuda()
    torch.distributed.all_reduce(moved)
    return tensor.copy_(moved)
