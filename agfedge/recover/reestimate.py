"""Batch norms whose running statistics are taken anew: the first aid for a pruned network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from agfedge.recover.batches import cut
from agfedge.recover.hardware import bring_home, hardware_for, laid_out
from agfedge.recover.student import norms_of
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

    norms: list[Any] = [layer for name, layer in norms_of(student.module).items() if name not in student.frozen]
    if not norms:
        return 0
    if len(x) < 2:
        raise InputError(f"batch norms are re-estimated from two inputs or more: got {len(x)}")
    hardware = laid_out(hardware_for("float32"), student.module, torch.from_numpy(x[:2]))
    hardware.move(student.module)
    momenta = [layer.momentum for layer in norms]
    seen = 0
    try:
        for layer in norms:
            layer.train()
        for rows in cut(np.arange(len(x)), batch_size):
            seen += len(rows)
            for layer in norms:
                layer.momentum = len(rows) / seen  # a running mean; the first batch replaces what was there
            with torch.no_grad():
                student.module(hardware.take(torch.from_numpy(x[rows])))
    finally:
        for layer, momentum in zip(norms, momenta, strict=True):
            layer.momentum = momentum
        bring_home(student.module)
    return len(norms)
