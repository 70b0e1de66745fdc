"""PVT (arXiv:2102.12122), SegFormer (arXiv:2105.15203), PoolFormer (arXiv:2111.11418), MLP-Mixer (arXiv:2105.01601)."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from own_architectures.layers import Mlp, image, tokens


class ReducedAttention(nn.Module):
    """Keys and values come from a map that a strided convolution reduced (PVT, section 3.3)."""

    def __init__(self, width: int, heads: int, ratio: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.both = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.projection = nn.Linear(width, width)
        self.reduce = nn.Conv2d(width, width, ratio, ratio) if ratio > 1 else None
        self.norm = nn.LayerNorm(width) if ratio > 1 else None

    def forward(self, x: torch.Tensor, side: int) -> torch.Tensor:
        """Maps (B, side * side, C) to the same shape."""
        batch, count, width = x.shape
        query = self.query(x).reshape(batch, count, self.heads, width // self.heads).permute(0, 2, 1, 3)
        source = x
        if self.reduce is not None and self.norm is not None:
            source = self.norm(tokens(self.reduce(image(x, side, side))))
        both = self.both(source).reshape(batch, -1, 2, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        key, value = both[0], both[1]
        attention = (query @ key.transpose(-2, -1)) * (width // self.heads) ** -0.5
        y = (attention.softmax(dim=-1) @ value).transpose(1, 2).reshape(batch, count, width)
        return self.projection(y)


class MixMlp(nn.Module):
    """An MLP with a depthwise convolution between (SegFormer, equation 3)."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.depthwise = nn.Conv2d(hidden, hidden, 3, 1, 1, groups=hidden)

    def forward(self, x: torch.Tensor, side: int) -> torch.Tensor:
        """Maps (B, side * side, C) to the same shape."""
        x = tokens(self.depthwise(image(self.first(x), side, side)))
        return self.second(functional.gelu(x))


class Block(nn.Module):
    """Pre-norm attention and MLP; the MLP is mixed in SegFormer."""

    def __init__(self, width: int, heads: int, ratio: int, mixed: bool) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = ReducedAttention(width, heads, ratio)
        self.mlp = MixMlp(width, 4 * width) if mixed else Mlp(width, 4 * width)

    def forward(self, x: torch.Tensor, side: int) -> torch.Tensor:
        """Maps (B, side * side, C) to the same shape."""
        x = x + self.attention(self.norm1(x), side)
        y = self.norm2(x)
        return x + (self.mlp(y, side) if isinstance(self.mlp, MixMlp) else self.mlp(y))


class Stage(nn.Module):
    """Patch embedding and two blocks."""

    def __init__(
        self, channels_in: int, width: int, stride: int, heads: int, ratio: int, side: int, mixed: bool
    ) -> None:
        super().__init__()
        self.side = side
        kernel = 2 * stride - 1 if mixed else stride
        self.embed = nn.Conv2d(channels_in, width, kernel, stride, kernel // 2 if mixed else 0)
        self.norm, self.last = nn.LayerNorm(width), nn.LayerNorm(width)
        self.position = None if mixed else nn.Parameter(0.02 * torch.randn(1, side * side, width))
        self.blocks = nn.ModuleList(Block(width, heads, ratio, mixed) for _ in range(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps (B, C_in, H, W) to (B, C, side, side)."""
        x = self.norm(tokens(self.embed(x)))
        if self.position is not None:
            x = x + self.position
        for block in self.blocks:
            x = block(x, self.side)
        return image(self.last(x), self.side, self.side)


def _stages(pixels: int, mixed: bool) -> nn.ModuleList:
    widths, ratios = (32, 64, 128), (4, 2, 1)
    made, side, before = [], pixels, 3
    for index, (width, ratio) in enumerate(zip(widths, ratios, strict=True)):
        stride = 2 if index else 4
        side //= stride
        made.append(Stage(before, width, stride, width // 32, ratio, side, mixed))
        before = width
    return nn.ModuleList(made)


class Pvt(nn.Module):
    """Three stages and a linear head on the mean."""

    def __init__(self, pixels: int) -> None:
        super().__init__()
        self.stages, self.head = _stages(pixels, False), nn.Linear(128, 100)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps (B, 3, H, W) to logits (B, 100)."""
        for stage in self.stages:
            x = stage(x)
        return self.head(x.mean(dim=(2, 3)))


class SegFormer(nn.Module):
    """Three stages; each map is projected, resized to the first one's resolution, concatenated and fused."""

    def __init__(self, pixels: int) -> None:
        super().__init__()
        self.stages = _stages(pixels, True)
        self.projections = nn.ModuleList(nn.Linear(width, 64) for width in (32, 64, 128))
        self.fuse = nn.Sequential(nn.Conv2d(192, 64, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU())
        self.head = nn.Conv2d(64, 19, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps (B, 3, H, W) to class maps (B, 19, H / 4, W / 4)."""
        maps: list[torch.Tensor] = []
        for stage, projection in zip(self.stages, self.projections, strict=True):
            x = stage(x)
            flat = image(projection(tokens(x)), x.shape[2], x.shape[3])
            size = maps[0].shape[2:] if maps else flat.shape[2:]
            maps.append(functional.interpolate(flat, size=size, mode="bilinear", align_corners=False))
        return self.head(self.fuse(torch.cat(maps[::-1], dim=1)))


class PoolBlock(nn.Module):
    """Pooling in the place of attention, group norm with one group, layer scale."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(1, width), nn.GroupNorm(1, width)
        self.scale1, self.scale2 = (nn.Parameter(torch.ones(width, 1, 1)) for _ in range(2))
        self.pool = nn.AvgPool2d(3, 1, 1, count_include_pad=False)
        self.mlp = nn.Sequential(nn.Conv2d(width, 4 * width, 1), nn.GELU(), nn.Conv2d(4 * width, width, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps (B, C, H, W) to the same shape."""
        y = self.norm1(x)
        x = x + self.scale1 * (self.pool(y) - y)
        return x + self.scale2 * self.mlp(self.norm2(x))


class MixerBlock(nn.Module):
    """One MLP over the tokens, one over the channels."""

    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.across, self.along = Mlp(count, 2 * count), Mlp(width, 4 * width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps (B, N, C) to the same shape."""
        x = x + self.across(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        return x + self.along(self.norm2(x))


class Mixer(nn.Module):
    """MLP-Mixer for 64 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 128, 8, 8)
        self.blocks = nn.Sequential(*(MixerBlock(64, 128) for _ in range(4)))
        self.norm, self.head = nn.LayerNorm(128), nn.Linear(128, 100)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps (B, 3, 64, 64) to logits (B, 100)."""
        return self.head(self.norm(self.blocks(tokens(self.patches(x)))).mean(dim=1))


def pvt() -> Pvt:
    """Makes a small PVT for 64 pixels."""
    return Pvt(64)


def segformer() -> SegFormer:
    """Makes a small SegFormer for 64 pixels."""
    return SegFormer(64)


def poolformer() -> nn.Sequential:
    """Makes a small PoolFormer."""
    first = [nn.Conv2d(3, 64, 7, 4, 2), PoolBlock(64), PoolBlock(64)]
    second = [nn.Conv2d(64, 128, 3, 2, 1), PoolBlock(128), PoolBlock(128), nn.GroupNorm(1, 128)]
    return nn.Sequential(*first, *second, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 100))


def mixer() -> Mixer:
    """Makes a small MLP-Mixer."""
    return Mixer()
