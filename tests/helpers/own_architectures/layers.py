"""Small pieces that several networks share."""

from __future__ import annotations

import torch
from torch import nn


def conv_norm(
    channels_in: int,
    channels_out: int,
    kernel: int = 3,
    stride: int = 1,
    groups: int = 1,
    activation: type[nn.Module] | None = nn.ReLU,
) -> nn.Sequential:
    """Convolution, batch norm and an activation, at the same resolution divided by the stride."""
    conv = nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2, groups=groups, bias=False)
    norm = nn.BatchNorm2d(channels_out)
    return nn.Sequential(conv, norm, *([] if activation is None else [activation()]))


class Mlp(nn.Sequential):
    """Two linear layers with GELU between."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))


class Residual(nn.Module):
    """Adds a module's output to its input."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Returns x + inner(x)."""
        return x + self.inner(x)


class ChannelsLastNorm(nn.Module):
    """LayerNorm over the channels of (B, C, H, W), by way of (B, H, W, C)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Keeps the shape."""
        return self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def tokens(x: torch.Tensor) -> torch.Tensor:
    """Turns (B, C, H, W) into (B, H * W, C)."""
    return x.flatten(2).transpose(1, 2)


def image(x: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Turns (B, H * W, C) into (B, C, H, W)."""
    return x.transpose(1, 2).reshape(x.shape[0], x.shape[2], height, width)
