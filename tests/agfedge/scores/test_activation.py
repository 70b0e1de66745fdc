"""Scores of activations, each against its formula computed by hand in double precision, and their statistics."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
import torch
from torch import nn

from agfedge.base.distributed import Team
from agfedge.scores import ScoreInputs, score_groups
from agfedge.scores.activation import Moments, activation_pass
from nets import SIDE, Case, Depthwise, Flat, Residual, case, score_inputs


class Dense(nn.Module):
    """Two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(SIDE * SIDE, 7)
        self.second = nn.Linear(7, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(torch.relu(self.first(x.flatten(1))))


def magnitudes(layer: nn.Module) -> np.ndarray:
    """|W| (outputs, inputs), summed over a kernel's positions, in float64."""
    weight = np.abs(layer.weight.detach().double().numpy())
    return weight.reshape(*weight.shape[:2], -1).sum(axis=2)


def norms(x: np.ndarray) -> np.ndarray:
    """||X_j||_2 over samples and positions, (inputs,), in float64."""
    channels = np.moveaxis(x.astype(np.float64), 1, 0)
    return np.sqrt((channels.reshape(len(channels), -1) ** 2).sum(axis=1))


def relative(weight: np.ndarray, x: np.ndarray) -> np.ndarray:
    """RIA's sum over inputs, (outputs,)."""
    importance = weight / weight.sum(axis=1, keepdims=True) + weight / weight.sum(axis=0, keepdims=True)
    return (importance * np.sqrt(norms(x))).sum(axis=1)


def streams_of_residual(made: Case) -> dict[str, np.ndarray]:
    """What the layers of `Residual` read, in float64."""
    double = deepcopy(made.module).double()
    with torch.no_grad():
        stem = torch.relu(double.norm(double.stem(torch.from_numpy(made.x).double())))
        inner = torch.relu(double.inner(stem))
        pooled = torch.relu(stem + double.outer(inner)).mean((2, 3))
    return {"inner": stem.numpy(), "outer": inner.numpy(), "linear": pooled.numpy()}


def stream_of(made: Case) -> str:
    """The name of the group of `Residual` that the sum ties together."""
    return next(group.name for group in made.inputs.groups.groups if group.size == 8)


# -- weights by their inputs ------------------------------------------------------------------------------------


def test_wanda_weighs_a_convolutions_weights_by_the_norm_of_the_image() -> None:
    made = case(Flat)
    expected = magnitudes(made.module.conv) @ norms(made.x)
    np.testing.assert_allclose(score_groups("wanda", made.inputs)["conv.weight"], expected, rtol=1e-6)


def test_wanda_weighs_a_linear_layers_weights_by_the_norm_of_each_feature() -> None:
    made = case(Dense)
    expected = magnitudes(made.module.first) @ norms(made.x.reshape(len(made.x), -1))
    np.testing.assert_allclose(score_groups("wanda", made.inputs)["first.weight"], expected, rtol=1e-6)


def test_wanda_of_coupled_channels_is_the_sum_over_their_layers() -> None:
    made = case(Residual)
    outer = magnitudes(made.module.outer) @ norms(streams_of_residual(made)["outer"])
    expected = magnitudes(made.module.stem) @ norms(made.x) + outer
    np.testing.assert_allclose(score_groups("wanda", made.inputs)[stream_of(made)], expected, rtol=1e-5)


def test_ria_adds_the_shares_of_row_and_column() -> None:
    made = case(Dense)
    expected = relative(magnitudes(made.module.first), made.x.reshape(len(made.x), -1))
    np.testing.assert_allclose(score_groups("ria", made.inputs)["first.weight"], expected, rtol=1e-6)


def test_ria_of_coupled_channels_is_the_sum_over_their_layers() -> None:
    made = case(Residual)
    outer = relative(magnitudes(made.module.outer), streams_of_residual(made)["outer"])
    expected = relative(magnitudes(made.module.stem), made.x) + outer
    np.testing.assert_allclose(score_groups("ria", made.inputs)[stream_of(made)], expected, rtol=1e-5)


@pytest.mark.parametrize("name", ["wanda", "ria"])
def test_a_depthwise_channel_reads_the_input_of_its_own_group(name: str) -> None:
    made = case(Depthwise)
    with torch.no_grad():
        first = torch.relu(made.module.first(torch.from_numpy(made.x))).numpy()
    weight = magnitudes(made.module.depth)[:, 0].reshape(8, 2)  # two filters for each input channel
    if name == "wanda":
        expected = weight.sum(axis=1) * norms(first) + magnitudes(made.module.first) @ norms(made.x)
    else:
        shares = (1 + weight / weight.sum(axis=1, keepdims=True)).sum(axis=1)
        expected = shares * np.sqrt(norms(first)) + relative(magnitudes(made.module.first), made.x)
    np.testing.assert_allclose(score_groups(name, made.inputs)["first.weight"], expected, rtol=1e-5)


def test_ria_of_an_empty_filter_is_zero() -> None:
    module = deepcopy(case(Dense).module)
    with torch.no_grad():
        module.first.weight[2] = 0
    found = score_groups("ria", score_inputs(module, case(Dense).x, case(Dense).y))["first.weight"]
    assert found[2] == 0
    assert (np.delete(found, 2) > 0).all()


# -- fluctuation ------------------------------------------------------------------------------------------------


def test_flap_is_the_variance_of_a_feature_times_the_squared_weights_that_read_it() -> None:
    made = case(Dense)
    with torch.no_grad():
        hidden = torch.relu(made.module.first(torch.from_numpy(made.x).flatten(1))).double().numpy()
    expected = hidden.var(axis=0, ddof=1) * (made.module.second.weight.detach().double().numpy() ** 2).sum(axis=0)
    np.testing.assert_allclose(score_groups("flap", made.inputs)["first.weight"], expected, rtol=1e-4)


def test_flap_adds_up_the_columns_of_a_flattened_channel() -> None:
    made = case(Flat)
    with torch.no_grad():
        maps = torch.relu(made.module.conv(torch.from_numpy(made.x))).flatten(1).double().numpy()
    columns = maps.var(axis=0, ddof=1) * (made.module.linear.weight.detach().double().numpy() ** 2).sum(axis=0)
    expected = columns.reshape(5, -1).sum(axis=1)
    np.testing.assert_allclose(score_groups("flap", made.inputs)["conv.weight"], expected, rtol=1e-4)


def test_flap_of_coupled_channels_is_the_sum_over_their_readers() -> None:
    made = case(Residual)
    expected = np.zeros(8)
    for name in ("inner", "linear"):
        channels = np.moveaxis(streams_of_residual(made)[name], 1, 0).reshape(8, -1)
        weight = getattr(made.module, name).weight.detach().double().numpy()
        expected += channels.var(axis=1, ddof=1) * (np.moveaxis(weight, 1, 0).reshape(8, -1) ** 2).sum(axis=1)
    np.testing.assert_allclose(score_groups("flap", made.inputs)[stream_of(made)], expected, rtol=1e-4)


# -- statistics -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cuts", [(), (1, 2), (5, 40), (64,)])
@pytest.mark.parametrize("mean", [0.0, 100.0])
def test_merged_statistics_are_those_of_everything(cuts: tuple[int, ...], mean: float) -> None:
    values = np.random.default_rng(0).normal(mean, 1, (70, 3, 4)).astype(np.float32)
    merged = Moments(0, np.zeros(3), np.zeros(3))
    for part in np.split(values, cuts):
        merged = merged.merged(Moments.of(torch.from_numpy(part)))
    channels = np.moveaxis(values.astype(np.float64), 1, 0).reshape(3, -1)
    assert merged.count == channels.shape[1]
    np.testing.assert_allclose(merged.mean, channels.mean(axis=1), rtol=1e-7, atol=1e-7)
    np.testing.assert_allclose(merged.variance, channels.var(axis=1, ddof=1), rtol=1e-6)
    np.testing.assert_allclose(merged.squares, (channels**2).sum(axis=1), rtol=1e-6)


def test_a_large_mean_does_not_drown_the_variance() -> None:
    values = (np.random.default_rng(0).normal(0, 1, (50, 2, 9)) + 30_000).astype(np.float32)
    found = Moments.of(torch.from_numpy(values))
    channels = np.moveaxis(values.astype(np.float64), 1, 0).reshape(2, -1)
    np.testing.assert_allclose(found.variance, channels.var(axis=1, ddof=1), rtol=1e-6)


def test_a_single_value_has_no_variance() -> None:
    assert not Moments.of(torch.ones(1, 3, 1)).variance.any()


def test_each_map_is_measured_once_however_many_layers_read_it() -> None:
    made = case(Residual)
    found = activation_pass(made.inputs).moments
    assert len(found) == len({(tensor, axes) for tensor, axes, _ in found}) == 4


def test_processes_merge_their_statistics() -> None:
    class Pair(Team):
        """A second process that holds the very same sums."""

        def sum(self, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            return {name: 2 * value for name, value in arrays.items()}

    made = case(Residual).inputs
    alone = activation_pass(made)
    doubled = ScoreInputs(made.groups, made.model, made.export, made.x, made.y, batch_size=3, team=Pair(0, 2))
    halves = activation_pass(doubled)
    for where, moments in halves.moments.items():
        assert moments.count == alone.moments[where].count
