"""Trains the demo's heavy expert, as its owner would have done before agfedge comes in."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from agfedge.base.progress import bar
from agfedge.data import Arrays
from agfedge.subject.preprocess import model_input, preprocessing_for
from agfedge_runtime.atomic import write_bytes


def train_heavy(data: Arrays, weights: Path, epochs: int = 12, seed: int = 0) -> None:
    """Trains the digits network on shifted copies of the training images, and writes its weights.

    Args:
        data: the training split, uint8 (N, 8, 8, 1).
        weights: a .safetensors file to write.
        epochs: passes over the split.
        seed: of weights, order and shifts.
    """
    import torch
    from safetensors.torch import save

    from agfedge.demo.network import digits_net

    torch.manual_seed(seed)
    generator = np.random.default_rng(seed)
    module = digits_net()
    x, y = torch.from_numpy(model_input(data.x, preprocessing_for(data.x))), torch.from_numpy(data.y)
    optimizer = torch.optim.AdamW(module.parameters(), lr=3e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=epochs * -(-len(x) // 64))
    for _ in bar(range(epochs), title="train the heavy expert", unit="epoch"):
        for chosen in np.array_split(generator.permutation(len(x)), -(-len(x) // 64)):
            down, across = (int(step) for step in generator.integers(-1, 2, 2))
            shifted = torch.roll(x[chosen], (down, across), (2, 3))
            loss = torch.nn.functional.cross_entropy(module(shifted), y[chosen])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    write_bytes(weights, save(module.state_dict()))
