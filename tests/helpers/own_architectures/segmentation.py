"""Segmentation: U-Net (arXiv:1505.04597) with transposed convolution or resize, DeepLab (arXiv:1706.05587)."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional

from own_architectures.layers import conv_norm


class UNet(nn.Module):
    """Four resolutions; the way up by transposed convolution, or by bilinear resize to the other map's size."""

    def __init__(self, width: int, transposed: bool, classes: int) -> None:
        super().__init__()
        widths = (width, 2 * width, 4 * width, 8 * width)
        self.downs = nn.ModuleList(self._double(a, b) for a, b in zip((3, *widths[:3]), widths, strict=True))
        self.ups = nn.ModuleList(
            nn.ConvTranspose2d(b, a, 2, 2) if transposed else nn.Conv2d(b, a, 1) for a, b in pairwise(widths)
        )
        self.merges = nn.ModuleList(self._double(2 * each, each) for each in widths[:3])
        self.transposed, self.head = transposed, nn.Conv2d(width, classes, 1)

    @staticmethod
    def _double(channels_in: int, channels_out: int) -> nn.Sequential:
        return nn.Sequential(conv_norm(channels_in, channels_out), conv_norm(channels_out, channels_out))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps (B, 3, H, W) to class maps (B, classes, H, W)."""
        maps = []
        for index, down in enumerate(self.downs):
            x = down(functional.max_pool2d(x, 2) if index else x)
            maps.append(x)
        for index in (2, 1, 0):
            x = self.ups[index](x)
            if not self.transposed:
                x = functional.interpolate(x, size=maps[index].shape[2:], mode="bilinear", align_corners=True)
            x = self.merges[index](torch.cat((maps[index], x), dim=1))
        return self.head(x)


def unet(transposed: bool = True) -> UNet:
    """Makes a narrow U-Net."""
    return UNet(16, transposed, 5)


class AtrousPyramid(nn.Module):
    """Dilated branches, and one that averages the whole map and spreads the mean over it again."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList([conv_norm(channels, width, 1)])
        for dilation in (2, 4):
            conv = nn.Conv2d(channels, width, 3, 1, dilation, dilation, bias=False)
            self.branches.append(nn.Sequential(conv, nn.BatchNorm2d(width), nn.ReLU()))
        self.mean = nn.Sequential(nn.AdaptiveAvgPool2d(1), conv_norm(channels, width, 1))
        self.project = conv_norm(4 * width, width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps (B, C, H, W) to (B, width, H, W)."""
        mean = functional.interpolate(self.mean(x), size=x.shape[2:], mode="bilinear", align_corners=False)
        return self.project(torch.cat([*(branch(x) for branch in self.branches), mean], dim=1))


class DeepLab(nn.Module):
    """A small backbone, the pyramid, a decoder with one skip, and the class map at full size."""

    def __init__(self) -> None:
        super().__init__()
        self.low = nn.Sequential(conv_norm(3, 32, 3, 2), conv_norm(32, 48, 3, 2))
        self.high = nn.Sequential(conv_norm(48, 96, 3, 2), conv_norm(96, 96))
        self.pyramid, self.skip = AtrousPyramid(96, 64), conv_norm(48, 16, 1)
        self.decode, self.head = conv_norm(80, 64), nn.Conv2d(64, 19, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps (B, 3, H, W) to class maps (B, 19, H, W)."""
        low = self.low(x)
        high = self.pyramid(self.high(low))
        high = functional.interpolate(high, size=low.shape[2:], mode="bilinear", align_corners=False)
        y = self.head(self.decode(torch.cat((high, self.skip(low)), dim=1)))
        return functional.interpolate(y, scale_factor=4.0, mode="bilinear", align_corners=False)


def deeplab() -> DeepLab:
    """Makes a small DeepLab v3+."""
    return DeepLab()
