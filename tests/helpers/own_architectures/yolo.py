"""A one-stage detector: C2f blocks as their authors write them, SPPF, a path-aggregation neck, decoupled heads.

The C2f block splits a convolution's channels in two and keeps every intermediate map in one concatenation. The boxes
are expected values over a distribution of distances (generalised focal loss, arXiv:2006.04388, section 3).
"""

from __future__ import annotations

import torch
from torch import nn

from own_architectures.layers import conv_norm

BINS = 16  # of a side's distribution


def _conv(channels_in: int, channels_out: int, kernel: int = 1, stride: int = 1) -> nn.Sequential:
    return conv_norm(channels_in, channels_out, kernel, stride, activation=nn.SiLU)


class Bottleneck(nn.Module):
    """Two 3x3 convolutions, and the input added where the network is not a neck."""

    def __init__(self, channels: int, shortcut: bool) -> None:
        super().__init__()
        self.body, self.shortcut = nn.Sequential(_conv(channels, channels, 3), _conv(channels, channels, 3)), shortcut

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps (B, C, H, W) to the same shape."""
        return x + self.body(x) if self.shortcut else self.body(x)


class C2f(nn.Module):
    """Splits in two, sends one half through bottlenecks, and concatenates every step."""

    def __init__(self, channels_in: int, channels_out: int, depth: int, shortcut: bool) -> None:
        super().__init__()
        part = channels_out // 2
        self.enter = _conv(channels_in, channels_out)
        self.leave = _conv((2 + depth) * part, channels_out)
        self.steps = nn.ModuleList(Bottleneck(part, shortcut) for _ in range(depth))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps (B, C_in, H, W) to (B, C_out, H, W)."""
        parts = list(self.enter(x).chunk(2, 1))
        parts.extend(step(parts[-1]) for step in self.steps)
        return self.leave(torch.cat(parts, 1))


class Sppf(nn.Module):
    """Max pools in a row, concatenated."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.enter, self.leave = _conv(channels, channels // 2), _conv(2 * channels, channels)
        self.pool = nn.MaxPool2d(5, 1, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps (B, C, H, W) to the same shape."""
        maps = [self.enter(x)]
        for _ in range(3):
            maps.append(self.pool(maps[-1]))
        return self.leave(torch.cat(maps, 1))


class Head(nn.Module):
    """Boxes and classes of one resolution, flattened."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.box = nn.Sequential(_conv(channels, 64, 3), _conv(64, 64, 3), nn.Conv2d(64, 4 * BINS, 1))
        self.kind = nn.Sequential(_conv(channels, 64, 3), _conv(64, 64, 3), nn.Conv2d(64, classes, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps (B, C, H, W) to (B, 4 * BINS + classes, H * W)."""
        return torch.cat((self.box(x), self.kind(x)), 1).flatten(2)


class Yolo(nn.Module):
    """Three resolutions; decodes boxes unless `raw`."""

    bins: torch.Tensor

    def __init__(self, width: int, classes: int, raw: bool) -> None:
        super().__init__()
        w, self.classes, self.raw = width, classes, raw
        self.stem = nn.Sequential(_conv(3, w, 3, 2), _conv(w, 2 * w, 3, 2), C2f(2 * w, 2 * w, 1, True))
        self.third = nn.Sequential(_conv(2 * w, 4 * w, 3, 2), C2f(4 * w, 4 * w, 2, True))
        self.fourth = nn.Sequential(_conv(4 * w, 8 * w, 3, 2), C2f(8 * w, 8 * w, 2, True))
        self.fifth = nn.Sequential(_conv(8 * w, 16 * w, 3, 2), C2f(16 * w, 16 * w, 1, True), Sppf(16 * w))
        self.up = nn.Upsample(scale_factor=2, mode="nearest")
        self.down4, self.down3 = C2f(24 * w, 8 * w, 1, False), C2f(12 * w, 4 * w, 1, False)
        self.stride3, self.up4 = _conv(4 * w, 4 * w, 3, 2), C2f(12 * w, 8 * w, 1, False)
        self.stride4, self.up5 = _conv(8 * w, 8 * w, 3, 2), C2f(24 * w, 16 * w, 1, False)
        self.heads = nn.ModuleList(Head(channels, classes) for channels in (4 * w, 8 * w, 16 * w))
        self.register_buffer("bins", torch.arange(BINS, dtype=torch.float32), persistent=False)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Maps (B, 3, H, W) to boxes (B, 4, anchors) and class probabilities (B, classes, anchors), or raw maps."""
        third = self.third(self.stem(x))
        fourth = self.fourth(third)
        fifth = self.fifth(fourth)
        four = self.down4(torch.cat((self.up(fifth), fourth), 1))
        three = self.down3(torch.cat((self.up(four), third), 1))
        four = self.up4(torch.cat((self.stride3(three), four), 1))
        five = self.up5(torch.cat((self.stride4(four), fifth), 1))
        maps = tuple(head(level) for head, level in zip(self.heads, (three, four, five), strict=True))
        if self.raw:
            return maps
        boxes, kinds = torch.cat(maps, 2).split((4 * BINS, self.classes), 1)
        shares = boxes.view(boxes.shape[0], 4, BINS, -1).softmax(2)
        return (shares * self.bins.view(1, 1, BINS, 1)).sum(2), kinds.sigmoid()


def yolo(raw: bool = False) -> Yolo:
    """Makes a narrow detector for 20 classes."""
    return Yolo(16, 20, raw)
