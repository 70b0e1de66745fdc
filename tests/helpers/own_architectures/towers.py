"""Several inputs, several outputs and weights that are used more than once."""

from __future__ import annotations

import torch
from torch import nn

from own_architectures.layers import conv_norm


def _tower(channels: int) -> nn.Sequential:
    return nn.Sequential(conv_norm(channels, 32, 3, 2), conv_norm(32, 64, 3, 2), conv_norm(64, 64))


class ColourAndDepth(nn.Module):
    """Two towers of their own, added and concatenated, with two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.colour, self.depth = _tower(3), _tower(1)
        self.fuse = conv_norm(128, 64)
        self.kind, self.map = nn.Linear(64, 10), nn.Conv2d(64, 2, 1)

    def forward(self, colour: torch.Tensor, depth: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Maps (B, 3, H, W) and (B, 1, H, W) to logits (B, 10) and a map (B, 2, H / 4, W / 4)."""
        colours, depths = self.colour(colour), self.depth(depth)
        both = self.fuse(torch.cat((colours, depths), dim=1)) + colours
        return self.kind(both.mean(dim=(2, 3))), self.map(both)


class Siamese(nn.Module):
    """One tower for both inputs; the distance of the embeddings, the product and the difference decide."""

    def __init__(self) -> None:
        super().__init__()
        self.tower, self.embed = _tower(3), nn.Linear(64, 48)
        self.decide = nn.Sequential(nn.Linear(96, 32), nn.ReLU(), nn.Linear(32, 1))

    def forward(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        """Maps two (B, 3, H, W) to a probability (B, 1)."""
        a, b = (self.embed(self.tower(each).mean(dim=(2, 3))) for each in (left, right))
        return self.decide(torch.cat((a * b, (a - b).abs()), dim=1)).sigmoid()


class Recurrent(nn.Module):
    """One block applied three times, each time with batch norm of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.block = conv_norm(3, 48, 3, 4), nn.Conv2d(48, 48, 3, 1, 1, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(48) for _ in range(3))
        self.head = nn.Linear(48, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps (B, 3, H, W) to logits (B, 10)."""
        x = self.stem(x)
        for norm in self.norms:
            x = torch.relu(x + norm(self.block(x)))
        return self.head(x.mean(dim=(2, 3)))


class DeepSupervision(nn.Module):
    """Early exits: a classifier after every stage, and the last features themselves as an output."""

    def __init__(self) -> None:
        super().__init__()
        widths = (32, 64, 96)
        self.stages = nn.ModuleList(
            nn.Sequential(conv_norm(a, b, 3, 2), conv_norm(b, b)) for a, b in zip((3, *widths[:2]), widths, strict=True)
        )
        self.exits = nn.ModuleList(nn.Linear(width, 10) for width in widths)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Maps (B, 3, H, W) to three logits (B, 10) and the features (B, 96)."""
        made = []
        for stage, leave in zip(self.stages, self.exits, strict=True):
            x = stage(x)
            features = x.mean(dim=(2, 3))
            made.append(leave(features))
        return (*made, features)


def colour_and_depth() -> ColourAndDepth:
    """Makes the network with two inputs and two outputs."""
    return ColourAndDepth()


def siamese() -> Siamese:
    """Makes the network with one tower for two inputs."""
    return Siamese()


def recurrent() -> Recurrent:
    """Makes the network that uses one convolution three times."""
    return Recurrent()


def deep_supervision() -> DeepSupervision:
    """Makes the network with four outputs."""
    return DeepSupervision()
