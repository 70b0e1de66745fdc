"""Small torch modules, each with one trait, and what a test asks of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import nn

from agfedge.allocate import uniform_keep
from agfedge.scores import ScoreInputs
from agfedge_export import ChannelGroups, Plan, analyse, make_plan, prune
from agfedge_export.graph.from_torch import TorchExport, export_torch

SIDE = 6


class Flat(nn.Module):
    """A convolution, then a linear layer on the flattened map: a channel is many of its columns."""

    def __init__(self, channels: int = 5, classes: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, channels, 3, 1, 1)
        self.linear = nn.Linear(channels * SIDE * SIDE, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(torch.relu(self.conv(x)).flatten(1))


class Residual(nn.Module):
    """A residual sum: the channels of `stem` and `outer` are one group, read in two places."""

    def __init__(self, channels: int = 8, inner: int = 6, classes: int = 3) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, channels, 3, 1, 1)
        self.norm = nn.BatchNorm2d(channels)
        self.inner = nn.Conv2d(channels, inner, 3, 1, 1)
        self.outer = nn.Conv2d(inner, channels, 3, 1, 1, bias=False)
        self.linear = nn.Linear(channels, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first = torch.relu(self.norm(self.stem(x)))
        second = torch.relu(first + self.outer(torch.relu(self.inner(first))))
        return self.linear(second.mean((2, 3)))


class Padded(nn.Module):
    """A shortcut padded by a fixed number of channels, as in the CIFAR ResNets: its code fixes its widths."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 8, 3, 1, 1)
        self.second = nn.Conv2d(8, 16, 3, 1, 1)
        self.linear = nn.Linear(16, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.first(x))
        z = torch.relu(self.second(y) + nn.functional.pad(y, (0, 0, 0, 0, 4, 4)))
        return self.linear(z.mean((2, 3)))


class Viewed(nn.Module):
    """A view with a fixed number of channels."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 16, 3, 1, 1)
        self.norm = nn.BatchNorm2d(16)
        self.linear = nn.Linear(16 * SIDE * SIDE, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.norm(self.first(x)))
        return self.linear(y.view(-1, 16, SIDE * SIDE).flatten(1))


class Depthwise(nn.Module):
    """A depthwise convolution with two filters a channel."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 8, 3, 1, 1)
        self.depth = nn.Conv2d(8, 16, 3, 1, 1, groups=8)
        self.norm = nn.BatchNorm2d(16)
        self.linear = nn.Linear(16, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.norm(self.depth(torch.relu(self.first(x)))))
        return self.linear(y.mean((2, 3)))


class Shuffled(nn.Module):
    """Grouped convolutions around a channel shuffle: positions go from every group, groups stay."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 16, 3, 1, 1)
        self.second = nn.Conv2d(16, 16, 1, groups=2)
        self.third = nn.Conv2d(16, 16, 3, 1, 1, groups=2)
        self.linear = nn.Linear(16, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.second(torch.relu(self.first(x))))
        batch, channels, height, width = y.shape
        y = y.view(batch, 2, channels // 2, height, width).transpose(1, 2).reshape(batch, channels, height, width)
        return self.linear(torch.relu(self.third(y)).mean((2, 3)))


class Tied(nn.Module):
    """Two layers that share one weight."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 8, 3, 1, 1)
        self.second = nn.Conv2d(8, 8, 3, 1, 1)
        self.third = nn.Conv2d(8, 8, 3, 1, 1)
        self.third.weight = self.second.weight
        self.linear = nn.Linear(8, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.second(torch.relu(self.first(x))))
        return self.linear(torch.relu(self.third(y)).mean((2, 3)))


def seeded(kind: type[nn.Module], seed: int = 0) -> nn.Module:
    """A module with random weights, batch statistics away from 0 and 1, in evaluation mode."""
    torch.manual_seed(seed)
    module = kind()
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_(0, 0.3)
            layer.running_var.uniform_(0.5, 2)
            nn.init.normal_(layer.weight, 1, 0.2)
            nn.init.normal_(layer.bias, 0, 0.2)
    return module.eval()


def samples(count: int = 12, classes: int = 3, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Random inputs (N, 1, SIDE, SIDE) and labels."""
    generator = np.random.default_rng(seed)
    x = generator.standard_normal((count, 1, SIDE, SIDE)).astype(np.float32)
    return x, generator.integers(0, classes, count)


def stripes(count: int = 240, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Noisy images that a small network can learn: horizontal stripes, vertical ones, or none."""
    generator = np.random.default_rng(seed)
    y = generator.integers(0, 3, count)
    x = generator.normal(0, 0.5, (count, 1, SIDE, SIDE)).astype(np.float32)
    x[y == 0, :, ::2] += 1
    x[y == 1, :, :, ::2] += 1
    return x, y


@cache
def learned(kind: type[nn.Module]) -> nn.Module:
    """A module that has learned the stripes; leave it as it is."""
    module, (x, y) = seeded(kind), stripes()
    optimizer = torch.optim.Adam(module.parameters(), 1e-2)
    module.train()
    for _ in range(30):
        optimizer.zero_grad()
        nn.functional.cross_entropy(module(torch.from_numpy(x)), torch.from_numpy(y)).backward()
        optimizer.step()
    return module.eval()


def exported(module: nn.Module, x: NDArray[np.float32]) -> TorchExport:
    return export_torch(module, torch.from_numpy(x[:2]))


def score_inputs(module: nn.Module, x: NDArray[np.float32], y: NDArray[np.int64], **options: int) -> ScoreInputs:
    made = exported(module, x)
    return ScoreInputs(analyse(made.model), made.model, made, x, y, **options)


@dataclass(frozen=True)
class Case:
    """A module with its data and what a score is given; exported once, so leave it as it is."""

    module: nn.Module
    x: NDArray[np.float32]
    y: NDArray[np.int64]
    inputs: ScoreInputs


@cache
def case(kind: type[nn.Module], seed: int = 0, count: int = 12) -> Case:
    module, (x, y) = seeded(kind, seed), samples(count, seed=seed)
    return Case(module, x, y, score_inputs(module, x, y))


def random_plan(groups: ChannelGroups, share: float = 0.5, seed: int = 0) -> Plan:
    """Keeps a random share of every group."""
    generator = np.random.default_rng(seed)
    return make_plan(
        groups, uniform_keep(groups, {group.name: generator.random(group.size) for group in groups.groups}, share)
    )


@dataclass(frozen=True)
class Light:
    """A heavy expert, a plan that keeps a random half of it, and its pruned graph; many tests use it, so leave it."""

    heavy: nn.Module
    plan: Plan
    graph: onnx.ModelProto


@cache
def light(kind: type[nn.Module]) -> Light:
    """A light expert of a module with random weights."""
    return _light(seeded(kind), samples()[0])


@cache
def learned_light(kind: type[nn.Module]) -> Light:
    """A light expert of a module that has learned the stripes."""
    return _light(learned(kind), stripes()[0], seed=4)


def _light(heavy: nn.Module, x: NDArray[np.float32], seed: int = 0) -> Light:
    model = exported(heavy, x).model
    plan = random_plan(analyse(model), seed=seed)
    return Light(heavy, plan, prune(model, plan).model)


def logits(module: nn.Module, x: NDArray[np.float32]) -> NDArray[np.float32]:
    with torch.no_grad():
        return module.eval()(torch.from_numpy(x)).numpy()
