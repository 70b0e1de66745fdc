"""Scores of gradients, each against its formula computed by hand in double precision, and against differences."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
import torch
from torch import nn

from agfedge.scores import score_groups
from agfedge_runtime.errors import InputError
from nets import Case, Flat, Residual, case, samples, score_inputs, seeded


def maps_of_flat(made: Case) -> np.ndarray:
    """The feature map that the linear layer of `Flat` reads, (N, channels, SIDE, SIDE), in float64."""
    double = deepcopy(made.module).double()
    with torch.no_grad():
        return torch.relu(double.conv(torch.from_numpy(made.x).double())).numpy()


def head_of_flat(made: Case) -> tuple[np.ndarray, np.ndarray]:
    linear = made.module.linear
    return linear.weight.detach().double().numpy(), linear.bias.detach().double().numpy()


def products_of_flat(made: Case) -> np.ndarray:
    """Y * dL/dY, (N, channels, positions), by the chain rule in float64."""
    flat = maps_of_flat(made).reshape(len(made.x), -1)
    weights, bias = head_of_flat(made)
    answers = np.exp(flat @ weights.T + bias)
    slope = answers / answers.sum(axis=1, keepdims=True) - np.eye(3)[made.y]
    return (flat * (slope @ weights)).reshape(len(made.x), 5, -1)


def test_agf_is_the_mean_over_samples_of_the_sum_of_magnitudes() -> None:
    made = case(Flat)
    expected = np.abs(products_of_flat(made)).sum(axis=2).mean(axis=0)
    found = score_groups("agf", made.inputs)
    np.testing.assert_allclose(found["conv.weight"], expected, rtol=1e-4)


def test_taylor_squares_the_signed_sum_over_all_positions_of_a_flattened_channel() -> None:
    made = case(Flat)
    expected = (products_of_flat(made).sum(axis=2) ** 2).mean(axis=0)
    found = score_groups("taylor", made.inputs)
    np.testing.assert_allclose(found["conv.weight"], expected, rtol=1e-4)


def loss_of_flat(made: Case, maps: np.ndarray) -> np.ndarray:
    weights, bias = head_of_flat(made)
    answers = maps.reshape(len(maps), -1) @ weights.T + bias
    return np.log(np.exp(answers).sum(axis=1)) - answers[np.arange(len(made.y)), made.y]


def test_agf_agrees_with_finite_differences_of_the_loss() -> None:
    made, step = case(Flat), 1e-5
    maps = maps_of_flat(made)
    expected = np.zeros(5)
    for index in np.ndindex(*maps.shape[1:]):
        up, down = maps.copy(), maps.copy()
        up[(slice(None), *index)] += step
        down[(slice(None), *index)] -= step
        slope = (loss_of_flat(made, up) - loss_of_flat(made, down)) / (2 * step)
        expected[index[0]] += np.abs(maps[(slice(None), *index)] * slope).mean()
    np.testing.assert_allclose(score_groups("agf", made.inputs)["conv.weight"], expected, rtol=1e-4)


def test_taylor_agrees_with_finite_differences_of_a_gate_on_the_channel() -> None:
    made, step = case(Flat), 1e-5
    maps = maps_of_flat(made)
    expected = []
    for gate in np.eye(5)[:, :, None, None] * step:
        slope = (loss_of_flat(made, maps * (1 + gate)) - loss_of_flat(made, maps * (1 - gate))) / (2 * step)
        expected.append((slope**2).mean())
    np.testing.assert_allclose(score_groups("taylor", made.inputs)["conv.weight"], expected, rtol=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_agf_is_at_least_the_magnitude_of_the_signed_sum(seed: int) -> None:
    made = case(Flat, seed)
    signed = np.abs(products_of_flat(made).sum(axis=2).mean(axis=0))
    assert (score_groups("agf", made.inputs)["conv.weight"] >= signed * (1 - 1e-5)).all()


def products_of_residual(made: Case) -> list[torch.Tensor]:
    """Y * dL/dY, (N, channels, positions), in the two places where the residual stream of `Residual` is read."""
    double = deepcopy(made.module).double()
    first = torch.relu(double.norm(double.stem(torch.from_numpy(made.x).double())))
    second = torch.relu(first + double.outer(torch.relu(double.inner(first))))
    pooled = second.mean((2, 3))  # what the linear layer reads
    loss = nn.functional.cross_entropy(double.linear(pooled), torch.from_numpy(made.y), reduction="sum")
    slopes = torch.autograd.grad(loss, [first, pooled])
    return [(first * slopes[0]).flatten(2).detach(), (pooled * slopes[1]).unsqueeze(2).detach()]


def score_of_stream(name: str) -> np.ndarray:
    made = case(Residual)
    (group,) = (each for each in made.inputs.groups.groups if each.size == 8)
    assert len(group.sites) == 2
    return score_groups(name, made.inputs)[group.name]


def test_agf_of_a_channel_that_is_read_in_two_places_is_the_sum_over_both() -> None:
    expected = sum(each.abs().sum(2).mean(0) for each in products_of_residual(case(Residual)))
    np.testing.assert_allclose(score_of_stream("agf"), expected, rtol=1e-4)


def test_taylor_squares_in_each_place_and_adds_the_squares() -> None:
    expected = sum((each.sum(2) ** 2).mean(0) for each in products_of_residual(case(Residual)))
    np.testing.assert_allclose(score_of_stream("taylor"), expected, rtol=1e-4)


def test_fisher_squares_the_gradient_of_the_mask_that_both_places_share() -> None:
    total = sum(each.sum(2) for each in products_of_residual(case(Residual)))
    np.testing.assert_allclose(score_of_stream("fisher"), 0.5 * (total**2).mean(0), rtol=1e-4)


def test_fisher_agrees_with_finite_differences_of_a_mask_on_a_residual_stream() -> None:
    made, step = case(Residual), 1e-5
    double, x, y = deepcopy(made.module).double(), torch.from_numpy(made.x).double(), torch.from_numpy(made.y)

    def losses(mask: torch.Tensor) -> torch.Tensor:
        first = mask * torch.relu(double.norm(double.stem(x)))
        second = mask * torch.relu(first + double.outer(torch.relu(double.inner(first))))
        return nn.functional.cross_entropy(double.linear(second.mean((2, 3))), y, reduction="none")

    expected = []
    with torch.no_grad():
        for channel in torch.eye(8, dtype=torch.float64)[:, :, None, None]:
            slope = (losses(1 + step * channel) - losses(1 - step * channel)) / (2 * step)
            expected.append(float(0.5 * (slope**2).mean()))
    np.testing.assert_allclose(score_of_stream("fisher"), expected, rtol=1e-4)


def test_fisher_of_a_channel_that_is_read_once_is_half_of_taylor() -> None:
    inputs = case(Flat).inputs
    half = score_groups("taylor", inputs)["conv.weight"] / 2
    np.testing.assert_allclose(score_groups("fisher", inputs)["conv.weight"], half, rtol=1e-12)


@pytest.mark.parametrize("name", ["agf", "taylor"])
def test_a_channel_that_never_fires_is_worth_nothing(name: str) -> None:
    module, (x, y) = seeded(Flat), samples()
    with torch.no_grad():
        module.conv.weight[2] = 0
        module.conv.bias[2] = -1
    found = score_groups(name, score_inputs(module, x, y))["conv.weight"]
    assert found[2] == 0
    assert (np.delete(found, 2) > 0).all()


class Frozen(Flat):
    def __init__(self) -> None:
        super().__init__()
        self.requires_grad_(False)


def test_frozen_parameters_do_not_matter() -> None:
    free, frozen = (score_groups("agf", case(kind).inputs)["conv.weight"] for kind in (Flat, Frozen))
    np.testing.assert_array_equal(free, frozen)


class Detached(Residual):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first = torch.relu(self.norm(self.stem(x)))
        return self.linear(self.outer(torch.relu(self.inner(first)).detach()).mean((2, 3)))


def test_channels_that_no_gradient_reaches_are_refused_not_ranked_by_chance() -> None:
    with pytest.raises(InputError, match=r"no gradient reaches the channels of stem\.weight: use .* \(l1, l2\)"):
        score_groups("agf", case(Detached).inputs)


class Behind(Flat):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(torch.relu(self.conv(x)).detach().flatten(1))


def test_what_detaches_a_map_before_it_is_read_hides_nothing() -> None:
    behind, plain = (score_groups("agf", case(kind).inputs)["conv.weight"] for kind in (Behind, Flat))
    np.testing.assert_allclose(behind, plain, rtol=1e-6)


class Counting(Flat):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return super().forward(x)


def test_a_module_that_changes_a_buffer_is_scored_by_its_logits() -> None:
    counting, plain = (score_groups("agf", case(kind).inputs)["conv.weight"] for kind in (Counting, Flat))
    np.testing.assert_allclose(counting, plain, rtol=1e-5)
