"""Convolution and attention together: MobileViT (arXiv:2110.02178) and LeViT (arXiv:2104.01136)."""

from __future__ import annotations

import torch
from torch import nn

from own_architectures.layers import Residual, conv_norm, image, tokens
from own_architectures.vit import Block


class Inverted(nn.Module):
    """MobileNet v2's block with SiLU."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        hidden = 2 * channels_in
        self.residual = stride == 1 and channels_in == channels_out
        self.body = nn.Sequential(
            conv_norm(channels_in, hidden, 1, activation=nn.SiLU),
            conv_norm(hidden, hidden, 3, stride, hidden, activation=nn.SiLU),
            conv_norm(hidden, channels_out, 1, activation=None),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps (B, C_in, H, W) to (B, C_out, H / stride, W / stride)."""
        return x + self.body(x) if self.residual else self.body(x)


class MobileViTBlock(nn.Module):
    """Unfolds the map into sequences of equal positions of all patches, attends, folds, and fuses with its input."""

    def __init__(self, channels: int, width: int, depth: int) -> None:
        super().__init__()
        self.local = nn.Sequential(conv_norm(channels, channels, 3, activation=nn.SiLU), nn.Conv2d(channels, width, 1))
        self.blocks = nn.Sequential(*(Block(width, 4, "fused") for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.back = conv_norm(width, channels, 1, activation=nn.SiLU)
        self.fuse = conv_norm(2 * channels, channels, 3, activation=nn.SiLU)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps (B, C, H, W) to the same shape; H and W are even."""
        y = self.local(x)
        batch, width, height, length = y.shape
        rows, columns = height // 2, length // 2
        y = y.reshape(batch * width * rows, 2, columns, 2).transpose(1, 2)
        y = y.reshape(batch, width, rows * columns, 4).transpose(1, 3).reshape(batch * 4, rows * columns, width)
        y = self.norm(self.blocks(y))
        y = y.reshape(batch, 4, rows * columns, width).transpose(1, 3)
        y = y.reshape(batch * width * rows, columns, 2, 2).transpose(1, 2).reshape(batch, width, height, length)
        return self.fuse(torch.cat((x, self.back(y)), dim=1))


def mobilevit() -> nn.Sequential:
    """Makes a small MobileViT."""
    stem = [conv_norm(3, 16, 3, 2, activation=nn.SiLU), Inverted(16, 32, 1), Inverted(32, 48, 2), Inverted(48, 48, 1)]
    body = [Inverted(48, 64, 2), MobileViTBlock(64, 96, 2), Inverted(64, 80, 2), MobileViTBlock(80, 120, 2)]
    head = [conv_norm(80, 320, 1, activation=nn.SiLU), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(320, 100)]
    return nn.Sequential(*stem, *body, *head)


class LinearNorm(nn.Module):
    """A linear layer with batch norm over its features."""

    def __init__(self, features_in: int, features_out: int) -> None:
        super().__init__()
        self.linear, self.norm = nn.Linear(features_in, features_out, bias=False), nn.BatchNorm1d(features_out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps (B, N, C_in) to (B, N, C_out)."""
        x = self.linear(x)
        return self.norm(x.flatten(0, 1)).reshape(x.shape)


class BiasedAttention(nn.Module):
    """Small keys, wide values, a learned bias for each head and distance, Hardswish before the projection.

    With a stride the queries come from every second pixel (LeViT, section 4.2).
    """

    index: torch.Tensor

    def __init__(self, width: int, out: int, heads: int, depth: int, ratio: int, side: int, stride: int) -> None:
        super().__init__()
        self.heads, self.depth, self.values, self.stride, self.side = heads, depth, ratio * depth, stride, side
        self.both = LinearNorm(width, heads * (depth + self.values))
        self.query = LinearNorm(width, heads * depth)
        self.projection = nn.Sequential(nn.Hardswish(), LinearNorm(heads * self.values, out))
        rows = torch.arange(side * side) // side
        columns = torch.arange(side * side) % side
        asks = ((rows % stride == 0) & (columns % stride == 0)).nonzero().squeeze(1)
        down = (rows[asks][:, None] - rows[None]).abs()
        right = (columns[asks][:, None] - columns[None]).abs()
        self.biases = nn.Parameter(0.1 * torch.randn(heads, side * side))
        self.register_buffer("index", down * side + right, persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps (B, N, C) to (B, N / stride ** 2, out)."""
        batch, count, _ = x.shape
        both = self.both(x).view(batch, count, self.heads, -1)
        key, value = both.split([self.depth, self.values], dim=3)
        asks = x
        if self.stride > 1:
            grid = x.view(batch, self.side, self.side, -1)[:, :: self.stride, :: self.stride]
            asks = grid.reshape(batch, -1, grid.shape[-1])
        query = self.query(asks).view(batch, -1, self.heads, self.depth).permute(0, 2, 1, 3)
        attention = query @ key.permute(0, 2, 3, 1) * self.depth**-0.5 + self.biases[:, self.index]
        y = (attention.softmax(dim=-1) @ value.permute(0, 2, 1, 3)).transpose(1, 2)
        return self.projection(y.reshape(batch, -1, self.heads * self.values))


def _mlp(width: int) -> Residual:
    return Residual(nn.Sequential(LinearNorm(width, 2 * width), nn.Hardswish(), LinearNorm(2 * width, width)))


class LeViT(nn.Module):
    """A convolutional stem, and two stages with a shrinking attention between."""

    def __init__(self, pixels: int) -> None:
        super().__init__()
        side, width, wide = pixels // 8, 64, 128
        self.stem = nn.Sequential(
            conv_norm(3, 16, 3, 2, activation=nn.Hardswish),
            conv_norm(16, 32, 3, 2, activation=nn.Hardswish),
            conv_norm(32, width, 3, 2, activation=None),
        )
        self.blocks = nn.Sequential(
            Residual(BiasedAttention(width, width, 4, 16, 2, side, 1)),
            _mlp(width),
            BiasedAttention(width, wide, 8, 16, 4, side, 2),
            _mlp(wide),
            Residual(BiasedAttention(wide, wide, 8, 16, 2, side // 2, 1)),
            _mlp(wide),
        )
        self.norm, self.head = nn.BatchNorm1d(wide), nn.Linear(wide, 100)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps (B, 3, H, W) to logits (B, 100)."""
        return self.head(self.norm(self.blocks(tokens(self.stem(x))).mean(dim=1)))


def levit() -> LeViT:
    """Makes a small LeViT for 64 pixels."""
    return LeViT(64)


class CrissCross(nn.Module):
    """Attention between channels instead of pixels (XCiT, arXiv:2106.09681, equation 6), within a map's residual."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.BatchNorm2d(width)
        self.qkv, self.projection = nn.Conv2d(width, 3 * width, 1), nn.Conv2d(width, width, 1)
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps (B, C, H, W) to the same shape."""
        batch, width, height, length = x.shape
        query, key, value = self.qkv(self.norm(x)).chunk(3, dim=1)
        query, key, value = (
            each.reshape(batch, self.heads, width // self.heads, height * length) for each in (query, key, value)
        )
        query, key = (torch.nn.functional.normalize(each, dim=-1) for each in (query, key))
        attention = (query @ key.transpose(-2, -1) * self.temperature).softmax(dim=-1)
        y = tokens((attention @ value).reshape(batch, width, height, length))
        return x + self.projection(image(y, height, length))


def crosscovariance() -> nn.Sequential:
    """Makes a small network of convolutions and cross-covariance attention."""
    stem = [conv_norm(3, 32, 3, 2), conv_norm(32, 64, 3, 2), CrissCross(64, 4), Inverted(64, 64, 1)]
    body = [conv_norm(64, 128, 3, 2), CrissCross(128, 4), Inverted(128, 128, 1)]
    return nn.Sequential(*stem, *body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 100))
