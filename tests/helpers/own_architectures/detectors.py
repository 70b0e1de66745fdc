"""Detection: a feature pyramid whose levels share heads, single-shot heads, and a transformer's set prediction."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from own_architectures.layers import Mlp, conv_norm, tokens


class Backbone(nn.Module):
    """A small residual network that returns three resolutions."""

    def __init__(self, widths: tuple[int, int, int]) -> None:
        super().__init__()
        self.stem = conv_norm(3, widths[0], 3, 4)
        before = (widths[0], *widths[:2])
        self.enters = nn.ModuleList(conv_norm(a, b, 3, 2) for a, b in zip(before, widths, strict=True))
        self.bodies = nn.ModuleList(
            nn.Sequential(conv_norm(width, width), conv_norm(width, width, activation=None)) for width in widths
        )

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Maps (B, 3, H, W) to maps at strides 8, 16 and 32."""
        x = self.stem(x)
        maps = []
        for enter, body in zip(self.enters, self.bodies, strict=True):
            x = enter(x)
            x = torch.relu(x + body(x))
            maps.append(x)
        return maps


class RetinaNet(nn.Module):
    """A feature pyramid (arXiv:1612.03144) whose levels share two heads (arXiv:1708.02002)."""

    def __init__(self, width: int, classes: int, anchors: int) -> None:
        super().__init__()
        self.classes = classes
        self.backbone = Backbone((48, 64, 96))
        self.sides = nn.ModuleList(nn.Conv2d(channels, width, 1) for channels in (48, 64, 96))
        self.smooth = nn.ModuleList(nn.Conv2d(width, width, 3, 1, 1) for _ in range(3))
        self.further = nn.Conv2d(96, width, 3, 2, 1)
        self.kinds, self.boxes = self._head(width, anchors * classes), self._head(width, anchors * 4)

    @staticmethod
    def _head(width: int, out: int) -> nn.Sequential:
        body = [nn.Conv2d(width, width, 3, 1, 1), nn.ReLU(), nn.Conv2d(width, width, 3, 1, 1), nn.ReLU()]
        return nn.Sequential(*body, nn.Conv2d(width, out, 3, 1, 1))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Maps (B, 3, H, W) to class scores (B, anchors, classes) and boxes (B, anchors, 4)."""
        maps = self.backbone(x)
        levels = [side(each) for side, each in zip(self.sides, maps, strict=True)]
        for index in (1, 0):
            levels[index] = levels[index] + functional.interpolate(levels[index + 1], scale_factor=2.0, mode="nearest")
        levels = [smooth(level) for smooth, level in zip(self.smooth, levels, strict=True)]
        levels.append(self.further(maps[-1]))
        return self._flat(self.kinds, levels, self.classes).sigmoid(), self._flat(self.boxes, levels, 4)

    @staticmethod
    def _flat(head: nn.Module, levels: list[torch.Tensor], last: int) -> torch.Tensor:
        found = [head(level).permute(0, 2, 3, 1).reshape(level.shape[0], -1, last) for level in levels]
        return torch.cat(found, dim=1)


class SingleShot(nn.Module):
    """Depthwise-separable heads on three maps (arXiv:1512.02325), as six outputs; the first map is L2-normalised."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = Backbone((32, 64, 128))
        self.scale = nn.Parameter(torch.ones(1, 32, 1, 1))
        self.kinds = nn.ModuleList(self._head(width, 6 * 21) for width in (32, 64, 128))
        self.boxes = nn.ModuleList(self._head(width, 6 * 4) for width in (32, 64, 128))

    @staticmethod
    def _head(width: int, out: int) -> nn.Sequential:
        return nn.Sequential(conv_norm(width, width, groups=width, activation=nn.ReLU6), nn.Conv2d(width, out, 1))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Maps (B, 3, H, W) to three class maps and three box maps."""
        maps = self.backbone(x)
        maps[0] = functional.normalize(maps[0], dim=1) * self.scale
        kinds = [head(each) for head, each in zip(self.kinds, maps, strict=True)]
        return (*kinds, *(head(each) for head, each in zip(self.boxes, maps, strict=True)))


class Detr(nn.Module):
    """Queries attend to a convolutional map through torch's own transformer layers (arXiv:2005.12872)."""

    def __init__(self, width: int, heads: int, queries: int, classes: int) -> None:
        super().__init__()
        self.backbone, self.project = Backbone((32, 64, 96)), nn.Conv2d(64, width, 1)
        self.position = nn.Parameter(0.1 * torch.randn(1, 16, width))
        self.queries = nn.Parameter(0.1 * torch.randn(1, queries, width))
        self.encoder = nn.ModuleList(
            nn.TransformerEncoderLayer(width, heads, 4 * width, batch_first=True) for _ in range(2)
        )
        self.decoder = nn.ModuleList(
            nn.TransformerDecoderLayer(width, heads, 4 * width, batch_first=True) for _ in range(2)
        )
        self.kinds, self.boxes = nn.Linear(width, classes), nn.Sequential(Mlp(width, width), nn.Linear(width, 4))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Maps (B, 3, 64, 64) to class logits (B, queries, classes) and boxes (B, queries, 4)."""
        memory = tokens(self.project(self.backbone(x)[1])) + self.position
        for layer in self.encoder:
            memory = layer(memory)
        y = self.queries.expand(memory.shape[0], -1, -1)
        for layer in self.decoder:
            y = layer(y, memory)
        return self.kinds(y), self.boxes(y).sigmoid()


def retinanet() -> RetinaNet:
    """Makes a small RetinaNet."""
    return RetinaNet(64, 20, 3)


def single_shot() -> SingleShot:
    """Makes a small single-shot detector."""
    return SingleShot()


def detr() -> Detr:
    """Makes a small DETR for 64 pixels."""
    return Detr(96, 4, 10, 21)
