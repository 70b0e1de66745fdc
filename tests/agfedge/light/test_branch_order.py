"""Which residual branches are missed least: measured one after the other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from agfedge.allocate import AllocationRequest
from agfedge.data import Arrays, Dataset
from agfedge.light.branch_order import branch_order
from agfedge.light.light import prune_light
from agfedge.subject.origin import Origin
from agfedge.subject.subject import Subject, load_subject
from nets import stripes

DEPTH = AllocationRequest(budget=0.7, of="macs", allocation="global", floor=1.0, drop_branches=True)


class Block(nn.Module):
    def __init__(self, scale: float) -> None:
        super().__init__()
        self.inner = nn.Conv2d(6, 6, 3, 1, 1)
        self.norm = nn.BatchNorm2d(6)
        self.outer = nn.Conv2d(6, 6, 3, 1, 1)
        with torch.no_grad():
            self.outer.weight.mul_(scale)
            self.outer.bias.zero_()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.outer(torch.relu(self.norm(self.inner(x))))


class Blocks(nn.Module):
    """Four residual branches, of which the loss hardly feels the second and the fourth."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.stem = nn.Conv2d(1, 6, 3, 1, 1)
        self.blocks = nn.Sequential(*(Block(scale) for scale in (3.0, 1e-3, 3.0, 1e-2)))
        self.linear = nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(self.blocks(self.stem(x)).mean((2, 3)))


def blocks() -> nn.Module:
    return Blocks()


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    """The network after a few steps of training, so that its large branches matter."""
    folder: Path = tmp_path_factory.mktemp("blocks")
    x, y = stripes(200, seed=1)
    np.savez(folder / "data.npz", x=x, y=y)
    module = Blocks()
    train = torch.optim.Adam(module.parameters(), 0.01)
    for _ in range(60):
        train.zero_grad()
        nn.functional.cross_entropy(module(torch.from_numpy(x)), torch.from_numpy(y)).backward()
        for block in (module.blocks[1], module.blocks[3]):
            block.outer.weight.grad.zero_()
            block.outer.bias.grad.zero_()
        train.step()
    torch.save(module.state_dict(), folder / "weights.pt")
    loaded = load_subject(Origin(f"{__file__}:blocks", str(folder / "data.npz"), str(folder / "weights.pt")), 0)
    part = Arrays(x, y)
    return replace(loaded, data=Dataset(loaded.data.classes, part, part, part, None), x=x)


def test_what_the_loss_hardly_feels_goes_first(subject: Subject) -> None:
    order = branch_order(subject, 0)
    assert len(order) == 4
    assert {name.split(".")[1] for name in order[:2]} == {"1", "3"}


def test_the_module_is_left_as_it_was(subject: Subject) -> None:
    before = {name: value.clone() for name, value in subject.module.state_dict().items()}
    branch_order(subject, 7)
    after = subject.module.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not subject.module.training


def test_the_same_seed_gives_the_same_order(subject: Subject) -> None:
    first = branch_order(subject, 3)
    branch_order.cache_clear()
    assert branch_order(subject, 3) == first


def test_a_budget_drops_the_branches_that_are_missed_least(subject: Subject) -> None:
    # These scores would have the first and the third go.
    scores = {
        group.name: np.full(group.size, 0.1 if ".0." in group.name or ".2." in group.name else 9.0)
        for group in subject.groups.groups
    }
    plan = prune_light(subject, scores, DEPTH).plan
    assert plan is not None
    gone = {group.name.split(".")[1] for group in plan.groups if not group.keep}
    assert gone
    assert gone <= {"1", "3"}
