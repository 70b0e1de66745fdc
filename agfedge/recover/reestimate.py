"""Batch norms whose running statistics are taken anew: the first aid for a pruned network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from agfedge.recover.hardware import hardware_for, laid_out
from agfedge.recover.lessons import cut
from agfedge_runtime.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from agfedge.recover.student import Student


def reestimate(student: Student, x: NDArray[np.float32], batch_size: int = 256) -> int:
    """Sets running mean and variance of each batch norm to their mean over batches of `x`, and nothing else.

    Frozen ones stay as they are.

    Each batch counts by its number of samples. The batch norms run in training mode, everything else in evaluation
    mode. The student is left in evaluation mode, on the CPU.

    Args:
        student: any kind.
        x: inputs as the module takes them, float32 (N, ...); two at least.
        batch_size: whose statistics are averaged.

    Returns:
        How many batch norms were re-estimated; without one nothing is run.

    Raises:
        InputError: fewer than two inputs.
    """
    import torch

    from agfedge.recover.norms import by_batches, norms_of

    norms: list[Any] = [layer for name, layer in norms_of(student.module).items() if name not in student.frozen]
    if not norms:
        return 0
    if len(x) < 2:
        raise InputError(f"batch norms are re-estimated from two inputs or more: got {len(x)}")
    hardware = laid_out(hardware_for("float32"), student.module, torch.from_numpy(x[:2]))
    seen = 0
    with by_batches(student.module, norms, hardware), torch.no_grad():
        for rows in cut(np.arange(len(x)), batch_size):
            seen += len(rows)
            for layer in norms:
                layer.momentum = len(rows) / seen  # a running mean; the first batch replaces what was there
            student.module(hardware.take(torch.from_numpy(x[rows])))
    return len(norms)
