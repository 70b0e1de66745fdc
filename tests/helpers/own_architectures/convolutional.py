"""Convolutional classifiers that pytorchcv lacks: VGG with a small head, Res2Net, ConvNeXt, RepLKNet, pixel shuffle."""

from __future__ import annotations

import torch
from torch import nn

from own_architectures.layers import ChannelsLastNorm, conv_norm


def vgg(batch_norm: bool = True) -> nn.Sequential:
    """Makes VGG-11 (arXiv:1409.1556) for 64 pixels, with dropout between its three linear layers."""
    layers: list[nn.Module] = []
    before = 3
    for width in (64, 0, 128, 0, 256, 256, 0, 512, 512, 0, 512, 512, 0):
        if width == 0:
            layers.append(nn.MaxPool2d(2))
            continue
        norm = [nn.BatchNorm2d(width)] if batch_norm else []
        layers += [nn.Conv2d(before, width, 3, 1, 1), *norm, nn.ReLU(inplace=True)]
        before = width
    head = [nn.Linear(2048, 512), nn.ReLU(), nn.Dropout(), nn.Linear(512, 512), nn.ReLU(), nn.Dropout()]
    return nn.Sequential(*layers, nn.Flatten(), *head, nn.Linear(512, 100))


class Res2Block(nn.Module):
    """A bottleneck whose middle is a hierarchy over equal parts of the channels (arXiv:1904.01169, equation 1)."""

    def __init__(self, channels_in: int, width: int, stride: int, scales: int = 4) -> None:
        super().__init__()
        part, self.stride, out = width // scales, stride, 2 * width
        self.reduce = conv_norm(channels_in, width, 1)
        self.convs = nn.ModuleList(conv_norm(part, part, 3, stride) for _ in range(scales - 1))
        self.pool = nn.AvgPool2d(3, stride, 1)
        self.expand = conv_norm(width, out, 1, activation=None)
        same = stride == 1 and channels_in == out
        self.shortcut = nn.Identity() if same else conv_norm(channels_in, out, 1, stride, activation=None)
        self.scales = scales

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps (B, C_in, H, W) to (B, 2 * width, H / stride, W / stride)."""
        parts = torch.chunk(self.reduce(x), self.scales, dim=1)
        made: list[torch.Tensor] = []
        for index, conv in enumerate(self.convs):
            carried = made[-1] + parts[index] if index and self.stride == 1 else parts[index]
            made.append(conv(carried))
        made.append(parts[-1] if self.stride == 1 else self.pool(parts[-1]))
        return torch.relu(self.expand(torch.cat(made, dim=1)) + self.shortcut(x))


def res2net() -> nn.Sequential:
    """Makes a small Res2Net."""
    blocks = [Res2Block(32, 64, 1), Res2Block(128, 64, 1), Res2Block(128, 128, 2), Res2Block(256, 128, 1)]
    stem = [conv_norm(3, 32, 3, 2), nn.MaxPool2d(3, 2, 1)]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(256, 100))


class GlobalResponseNorm(nn.Module):
    """Divides each channel's energy by the mean over the channels (ConvNeXt V2, arXiv:2301.00808, section 3)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma, self.beta = (nn.Parameter(torch.zeros(width)) for _ in range(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps (B, H, W, C) to the same shape."""
        energy = x.norm(p=2, dim=(1, 2), keepdim=True)
        return self.gamma * (x * (energy / (energy.mean(dim=-1, keepdim=True) + 1e-6))) + self.beta + x


class ConvNeXtBlock(nn.Module):
    """Depthwise 7x7, LayerNorm, an MLP on the channels, layer scale (arXiv:2201.03545) or GRN in its second version."""

    def __init__(self, width: int, second: bool) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 7, 1, 3, groups=width)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.expand, self.shrink = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.grn = GlobalResponseNorm(4 * width) if second else None
        self.gamma = None if second else nn.Parameter(torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps (B, C, H, W) to the same shape."""
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        y = nn.functional.gelu(self.expand(y))
        y = self.shrink(self.grn(y) if self.grn is not None else y)
        if self.gamma is not None:
            y = self.gamma * y
        return x + y.permute(0, 3, 1, 2)


def convnext(second: bool = False) -> nn.Sequential:
    """Makes a small ConvNeXt, of the first or second version."""
    layers: list[nn.Module] = [nn.Conv2d(3, 48, 4, 4), ChannelsLastNorm(48)]
    for width in (48, 96, 192):
        if width > 48:
            layers += [ChannelsLastNorm(width // 2), nn.Conv2d(width // 2, width, 2, 2)]
        layers += [ConvNeXtBlock(width, second), ConvNeXtBlock(width, second)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LayerNorm(192), nn.Linear(192, 100))


class LargeKernelBlock(nn.Module):
    """A pointwise bottleneck around a large depthwise kernel and a parallel small one (arXiv:2203.06717)."""

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(width)
        self.enter, self.leave = conv_norm(width, width, 1), conv_norm(width, width, 1, activation=None)
        self.large = conv_norm(width, width, kernel, groups=width, activation=None)
        self.small = conv_norm(width, width, 5, groups=width, activation=None)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps (B, C, H, W) to the same shape."""
        y = self.enter(self.norm(x))
        return x + self.leave(torch.relu(self.large(y) + self.small(y)))


def replknet() -> nn.Sequential:
    """Makes a small network of large kernels."""
    first = [conv_norm(3, 64, 3, 4), LargeKernelBlock(64, 13), LargeKernelBlock(64, 13)]
    second = [conv_norm(64, 128, 3, 2), LargeKernelBlock(128, 7)]
    return nn.Sequential(*first, *second, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 100))


def espcn() -> nn.Sequential:
    """Makes a super-resolution network with sub-pixel convolution (arXiv:1609.05158) in two steps, PReLU between."""
    first = [nn.PixelUnshuffle(2), conv_norm(12, 32, 3, activation=nn.PReLU), nn.Conv2d(32, 128, 3, 1, 1)]
    second = [nn.PixelShuffle(2), nn.PReLU(32), nn.Conv2d(32, 32, 3, 1, 1), nn.Tanh(), nn.Conv2d(32, 12, 3, 1, 1)]
    return nn.Sequential(*first, *second, nn.PixelShuffle(2))


class GatedBlock(nn.Module):
    """Half of the channels gate the other half (gated linear unit), under batch norm, with a learned slope for each."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.enter, self.leave = conv_norm(width, 4 * width, 1, activation=None), conv_norm(2 * width, width, 1)
        self.act = nn.PReLU(2 * width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps (B, C, H, W) to the same shape."""
        values, gates = self.enter(x).chunk(2, dim=1)
        return x + self.leave(self.act(values) * torch.sigmoid(gates))


def gated() -> nn.Sequential:
    """Makes a small network of gated blocks."""
    first = [conv_norm(3, 32, 3, 2), GatedBlock(32), conv_norm(32, 64, 3, 2), GatedBlock(64), nn.GroupNorm(8, 64)]
    return nn.Sequential(*first, conv_norm(64, 64), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))
