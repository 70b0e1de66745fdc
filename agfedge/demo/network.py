"""The demo's heavy expert: a small residual network for 8x8 digits."""

from __future__ import annotations

from typing import cast

import torch
from torch import nn


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
