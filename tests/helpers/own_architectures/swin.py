"""Swin (arXiv:2103.14030): windows, relative position bias, shifts by roll and mask, patch merging."""

from __future__ import annotations

import torch
from torch import nn

from own_architectures.layers import Mlp


def windows(x: torch.Tensor, size: int) -> torch.Tensor:
    """Cuts (B, H, W, C) into (B * windows, size * size, C)."""
    batch, height, width, channels = x.shape
    x = x.view(batch, height // size, size, width // size, size, channels)
    return x.permute(0, 1, 3, 2, 4, 5).reshape(-1, size * size, channels)


def joined(x: torch.Tensor, size: int, height: int, width: int) -> torch.Tensor:
    """Puts windows (B * windows, size * size, C) together again: (B, H, W, C)."""
    x = x.view(-1, height // size, width // size, size, size, x.shape[-1])
    return x.permute(0, 1, 3, 2, 4, 5).reshape(-1, height, width, x.shape[-1])


def relative_index(size: int) -> torch.Tensor:
    """Returns for each pair of a window's pixels the row of the bias table: int64 (size ** 4,)."""
    rows = torch.arange(size * size) // size
    columns = torch.arange(size * size) % size
    down = rows[:, None] - rows[None, :] + size - 1
    right = columns[:, None] - columns[None, :] + size - 1
    return (down * (2 * size - 1) + right).flatten()


def shift_mask(pixels: int, size: int, shift: int) -> torch.Tensor:
    """Returns float32 (windows, size ** 2, size ** 2): -100 between pixels that were no neighbours before the roll."""
    edges = torch.zeros(pixels, dtype=torch.long)
    edges[-size:], edges[-shift:] = 1, 2
    regions = windows((3 * edges[:, None] + edges[None, :]).float()[None, :, :, None], size).squeeze(-1)
    return -100.0 * (regions[:, :, None] != regions[:, None, :]).float()


class WindowAttention(nn.Module):
    """Attention within windows, with a learned bias for each head and relative position."""

    index: torch.Tensor

    def __init__(self, width: int, heads: int, size: int) -> None:
        super().__init__()
        self.heads, self.depth, self.area = heads, width // heads, size * size
        self.qkv, self.projection = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.table = nn.Parameter(0.2 * torch.randn((2 * size - 1) ** 2, heads))
        self.register_buffer("index", relative_index(size), persistent=False)

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """Maps (B * windows, N, C) to the same shape."""
        count, area, width = x.shape
        query, key, value = self.qkv(x).reshape(count, area, 3, self.heads, self.depth).permute(2, 0, 3, 1, 4)
        attention = (query * self.depth**-0.5) @ key.transpose(-2, -1)
        bias = self.table[self.index].view(self.area, self.area, self.heads).permute(2, 0, 1)
        attention = attention + bias.unsqueeze(0)
        if mask is not None:
            split = attention.view(-1, len(mask), self.heads, area, area) + mask[None, :, None]
            attention = split.view(-1, self.heads, area, area)
        y = (attention.softmax(dim=-1) @ value).transpose(1, 2).reshape(count, area, width)
        return self.projection(y)


class Block(nn.Module):
    """Window attention, shifted in every second block, and an MLP; pre-norm."""

    def __init__(self, width: int, heads: int, pixels: int, size: int, shift: int) -> None:
        super().__init__()
        self.pixels, self.size, self.shift = pixels, size, shift
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention, self.mlp = WindowAttention(width, heads, size), Mlp(width, 4 * width)
        self.register_buffer("mask", shift_mask(pixels, size, shift) if shift else None, persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps (B, H, W, C) to the same shape."""
        y = self.norm1(x)
        if self.shift:
            y = torch.roll(y, (-self.shift, -self.shift), dims=(1, 2))
        y = joined(self.attention(windows(y, self.size), self.mask), self.size, self.pixels, self.pixels)
        if self.shift:
            y = torch.roll(y, (self.shift, self.shift), dims=(1, 2))
        x = x + y
        return x + self.mlp(self.norm2(x))


class Merging(nn.Module):
    """Halves the resolution: four neighbours' channels are concatenated, normalised and projected."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.reduction = nn.LayerNorm(4 * width), nn.Linear(4 * width, 2 * width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps (B, H, W, C) to (B, H / 2, W / 2, 2 C)."""
        corners = (x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2])
        return self.reduction(self.norm(torch.cat(corners, dim=-1)))


class Swin(nn.Module):
    """Patches of four pixels and stages of two blocks."""

    def __init__(self, pixels: int, width: int, heads: tuple[int, ...], size: int) -> None:
        super().__init__()
        self.patches, self.norm = nn.Conv2d(3, width, 4, 4), nn.LayerNorm(width)
        stages: list[nn.Module] = []
        side = pixels // 4
        for index, count in enumerate(heads):
            if index:
                stages.append(Merging(width))
                side, width = side // 2, 2 * width
            shift = size // 2 if side > size else 0
            stages += [Block(width, count, side, size, 0), Block(width, count, side, size, shift)]
        self.stages = nn.Sequential(*stages)
        self.last, self.head = nn.LayerNorm(width), nn.Linear(width, 100)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps (B, 3, H, W) to logits (B, 100)."""
        x = self.norm(self.patches(x).permute(0, 2, 3, 1))
        return self.head(self.last(self.stages(x)).mean(dim=(1, 2)))


def swin() -> Swin:
    """Makes a small Swin for 64 pixels."""
    return Swin(64, 96, (3, 6, 12), 4)
