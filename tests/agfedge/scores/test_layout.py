"""Wherever samples and channels lie: attention heads, folded batches, maps that are made of parameters."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from torch import nn

from agfedge.scores import ScoreInputs, score_many, score_names
from agfedge.scores.program import BatchAxis, Place, UnitIndex
from nets import score_inputs
from own_architectures.vit import ATTENTIONS

TOKENS, WIDTH = 7, 16


class Encoder(nn.Module):
    """One transformer block without norms, whose stream can be pruned too."""

    def __init__(self, attention: nn.Module) -> None:
        super().__init__()
        self.embed = nn.Linear(5, WIDTH)
        self.attention = attention
        self.first, self.second = nn.Linear(WIDTH, 24), nn.Linear(24, WIDTH)
        self.head = nn.Linear(WIDTH, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.embed(x)
        x = x + self.attention(x)
        return self.head((x + self.second(torch.relu(self.first(x)))).mean(1))


class Windows(nn.Module):
    """Attention within windows that are folded into the batch, as shifted windows are."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = ATTENTIONS["fused"](WIDTH, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        padded = nn.functional.pad(x, (0, 0, 0, 1))
        windows = padded.reshape(-1, 4, WIDTH)
        return self.inner(windows).reshape(padded.shape)[:, :TOKENS]


KINDS = {**{name: (lambda kind=kind: kind(WIDTH, 4)) for name, kind in ATTENTIONS.items()}, "windows": Windows}


@cache
def encoder(kind: str) -> tuple[ScoreInputs, nn.Module]:
    torch.manual_seed(0)
    module = Encoder(KINDS[kind]()).eval()
    generator = np.random.default_rng(0)
    x = generator.standard_normal((20, TOKENS, 5)).astype(np.float32)
    return score_inputs(module, x, generator.integers(0, 3, 20)), module


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_score_ranks_streams_hidden_units_and_heads_whatever_the_batch_size(kind: str) -> None:
    inputs, _ = encoder(kind)
    whole, parts = (score_many(score_names(), replace(inputs, batch_size=size)) for size in (20, 7))
    assert len(inputs.groups.groups) == 3
    for name, scores in whole.items():
        for group, values in scores.items():
            assert (values > 0).all(), f"{name} of {group}"
            np.testing.assert_allclose(parts[name][group], values, rtol=1e-4, err_msg=f"{name} of {group}")


@pytest.mark.parametrize("kind", ["chunked", "fused", "separate"])
def test_a_head_is_worth_what_masks_on_its_dimensions_say(kind: str) -> None:
    """The first-order term of a mask on the input of the projection, sample by sample, by autograd."""
    inputs, module = encoder(kind)
    mask = torch.ones(len(inputs.x), 1, WIDTH, requires_grad=True)
    handle = module.attention.projection.register_forward_pre_hook(lambda _, given: (given[0] * mask,))
    try:
        logits = module(torch.from_numpy(inputs.x))
    finally:
        handle.remove()
    (slope,) = torch.autograd.grad(
        nn.functional.cross_entropy(logits, torch.from_numpy(inputs.y), reduction="sum"), [mask]
    )
    expected = slope[:, 0].double().square().mean(0).numpy()
    (group,) = (each for each in inputs.groups.groups if each.size == 2 * WIDTH)
    (site,) = (each for each in group.sites if len(each.axes) == 1)
    found = score_many(["taylor"], inputs)["taylor"][group.name]
    np.testing.assert_allclose(found[site.units], expected, rtol=1e-4)


class Table(nn.Module):
    """A map that is made of parameters alone: hidden units behind a learned table, as in relative positions."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(9, 2))
        self.hidden, self.out = nn.Linear(2, 6), nn.Linear(6, 4)
        self.embed, self.head = nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(self.embed(x) + self.out(torch.relu(self.hidden(self.table)))).mean(1))


def table() -> tuple[ScoreInputs, Table]:
    torch.manual_seed(0)
    module = Table().eval()
    generator = np.random.default_rng(0)
    x = generator.standard_normal((20, 9, 4)).astype(np.float32)
    return score_inputs(module, x, generator.integers(0, 3, 20)), module


def test_a_map_made_of_parameters_is_scored_by_the_mean_of_its_gradients() -> None:
    inputs, module = table()
    hidden = torch.relu(module.hidden(module.table))
    logits = module.head(torch.relu(module.embed(torch.from_numpy(inputs.x)) + module.out(hidden)).mean(1))
    (slope,) = torch.autograd.grad(nn.functional.cross_entropy(logits, torch.from_numpy(inputs.y)), [hidden])
    product = (hidden * slope).detach()
    found = score_many(["agf", "taylor"], inputs)
    np.testing.assert_allclose(found["agf"]["hidden.weight"], product.abs().sum(0), rtol=1e-4)
    np.testing.assert_allclose(found["taylor"]["hidden.weight"], product.sum(0) ** 2, rtol=1e-4)


def test_a_map_made_of_parameters_has_scores_whatever_the_batch_size() -> None:
    inputs, _ = table()
    whole, parts = (score_many(score_names(), replace(inputs, batch_size=size)) for size in (20, 7))
    for name, scores in whole.items():
        np.testing.assert_allclose(parts[name]["hidden.weight"], scores["hidden.weight"], rtol=1e-4, err_msg=name)


# -- arrangements -----------------------------------------------------------------------------------------------


def test_channels_of_an_image_are_the_second_axis() -> None:
    value = torch.arange(2 * 3 * 4).reshape(2, 3, 2, 2)
    assert torch.equal(Place((1,), (3,), BatchAxis(0)).arranged(value, 2), value.reshape(2, 3, 4))


def test_heads_and_dimensions_are_channels_together() -> None:
    value = torch.arange(2 * 3 * 5 * 4).reshape(2, 3, 5, 4)  # samples, heads, tokens, dimensions
    found = Place((1, 3), (3, 4), BatchAxis(0)).arranged(value, 2)
    assert torch.equal(found, value.permute(0, 1, 3, 2).reshape(2, 12, 5))


def test_heads_that_are_folded_into_the_batch_come_out_of_it() -> None:
    value = torch.arange(6 * 5 * 4).reshape(6, 5, 4)  # samples * heads, tokens, dimensions
    found = Place((0, 2), (3, 4), BatchAxis(0)).arranged(value, 2)
    assert torch.equal(found, value.reshape(2, 3, 5, 4).permute(0, 1, 3, 2).reshape(2, 12, 5))


@pytest.mark.parametrize("last", [False, True])
def test_tokens_that_share_the_samples_axis_are_positions(last: bool) -> None:
    value = torch.arange(6 * 4).reshape(6, 4)
    found = Place((1,), (4,), BatchAxis(0, last)).arranged(value, 2)
    apart = value.reshape(3, 2, 4).permute(1, 2, 0) if last else value.reshape(2, 3, 4).permute(0, 2, 1)
    assert torch.equal(found, apart)


def test_samples_may_come_second() -> None:
    value = torch.arange(3 * 2 * 4).reshape(3, 2, 4)
    assert torch.equal(Place((2,), (4,), BatchAxis(1)).arranged(value, 2), value.permute(1, 2, 0))


def test_a_unit_of_many_channels_has_all_of_their_positions() -> None:
    value = torch.arange(12.0).reshape(1, 6, 2)
    index = UnitIndex.of(np.array([2, -1, 0, 2, 0, 0]))
    assert index.units.tolist() == [0, 2]
    assert index.gathered(value).tolist() == [[[4, 5, 8, 9, 10, 11], [0, 1, 6, 7, 0, 0]]]
