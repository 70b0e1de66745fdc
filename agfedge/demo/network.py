"""The demo's heavy expert: a small residual network for 8x8 digits, trained as its owner would have done."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import nn

from agfedge.base.progress import bar
from agfedge.data import Arrays
from agfedge.subject.preprocess import model_input, preprocessing_for
from agfedge_runtime.atomic import write_bytes


class Block(nn.Module):
    """Two 3x3 convolutions with batch normalisation beside a shortcut (He et al., arXiv:1512.03385)."""

    def __init__(self, channels_in: int, channels_out: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels_out)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels_out:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels_in, channels_out, 1, stride, bias=False), nn.BatchNorm2d(channels_out)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps (B, C_in, H, W) to (B, C_out, H / stride, W / stride)."""
        inner = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(inner)) + self.shortcut(x))


class DigitsNet(nn.Module):
    """Three stages of two blocks, 48, 96 and 192 channels wide, then a linear layer on all that is left."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 48, 3, 1, 1, bias=False)
        self.bn = nn.BatchNorm2d(48)
        self.stages = nn.Sequential(
            Block(48, 48), Block(48, 48), Block(48, 96, 2), Block(96, 96), Block(96, 192, 2), Block(192, 192)
        )
        self.linear = nn.Linear(192 * 2 * 2, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps float32 (B, 1, 8, 8) in [0, 1] to logits (B, classes)."""
        x = self.stages(torch.relu(self.bn(self.conv(x))))
        return cast(torch.Tensor, self.linear(x.flatten(1)))


def digits_net() -> DigitsNet:
    """Makes the network with random weights: what `--model agfedge.demo.network:digits_net` names."""
    return DigitsNet()


def train_heavy(data: Arrays, weights: Path, epochs: int = 12, seed: int = 0) -> None:
    """Trains the digits network on shifted copies of the training images, and writes its weights.

    Args:
        data: the training split, uint8 (N, 8, 8, 1).
        weights: a .safetensors file to write.
        epochs: passes over the split.
        seed: of weights, order and shifts.
    """
    from safetensors.torch import save

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
