"""Each score against its formula, computed by hand in double precision."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from agfedge.scores import ScoreInputs, score, score_groups, score_names
from agfedge_export import analyse
from agfedge_runtime.errors import InputError
from nets import SIDE, Case, Flat, Residual, case, samples, score_inputs, seeded
from pruning import build


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


@pytest.mark.parametrize("name", ["agf", "taylor"])
def test_gradient_scores_do_not_depend_on_the_batch_size(name: str) -> None:
    inputs = case(Residual).inputs
    whole = score_groups(name, inputs)
    for size in (2, 5):
        parts = score_groups(name, replace(inputs, batch_size=size))
        for group, values in whole.items():
            np.testing.assert_allclose(parts[group], values, rtol=1e-4, err_msg=f"{group}, batches of {size}")


@pytest.mark.parametrize("name", ["agf", "taylor"])
def test_a_unit_that_is_read_in_two_places_is_worth_their_sum(name: str) -> None:
    made = case(Residual)
    double = deepcopy(made.module).double()
    first = torch.relu(double.norm(double.stem(torch.from_numpy(made.x).double())))
    second = torch.relu(first + double.outer(torch.relu(double.inner(first))))
    pooled = second.mean((2, 3))  # what the linear layer reads
    loss = nn.functional.cross_entropy(double.linear(pooled), torch.from_numpy(made.y), reduction="sum")
    slopes = torch.autograd.grad(loss, [first, pooled])
    products = [(first * slopes[0]).flatten(2), (pooled * slopes[1]).unsqueeze(2)]
    by_place = {
        "agf": [each.abs().sum(2).mean(0) for each in products],
        "taylor": [(each.sum(2) ** 2).mean(0) for each in products],
    }[name]
    (group,) = (each for each in made.inputs.groups.groups if each.size == 8)
    assert len(group.sites) == 2
    np.testing.assert_allclose(score_groups(name, made.inputs)[group.name], sum(by_place).detach().numpy(), rtol=1e-4)


def test_only_the_asked_number_of_batches_is_looked_at() -> None:
    made = case(Flat)
    chosen = np.random.default_rng(3).permutation(12)[:8]
    some = score_groups("agf", replace(made.inputs, batches=2, batch_size=4, seed=3))
    alone = score_groups("agf", replace(made.inputs, x=made.x[chosen], y=made.y[chosen]))
    np.testing.assert_allclose(some["conv.weight"], alone["conv.weight"], rtol=1e-5)


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


class Detached(Flat):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(torch.relu(self.conv(x)).detach().flatten(1))


def test_channels_that_no_gradient_reaches_are_refused_not_ranked_by_chance() -> None:
    with pytest.raises(InputError, match=r"no gradient reaches the channels of conv\.weight: use .* \(l1, l2\)"):
        score_groups("agf", case(Detached).inputs)


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


def test_l1_and_l2_are_norms_of_the_filter() -> None:
    inputs = case(Flat).inputs
    weights = case(Flat).module.conv.weight.detach().double().numpy().reshape(5, -1)
    np.testing.assert_allclose(score_groups("l1", inputs)["conv.weight"], np.abs(weights).sum(axis=1))
    np.testing.assert_allclose(score_groups("l2", inputs)["conv.weight"], np.sqrt((weights**2).sum(axis=1)))


def test_a_norm_is_taken_over_all_producing_filters_of_a_residual_group() -> None:
    module, inputs = case(Residual).module, case(Residual).inputs
    (group,) = (each for each in inputs.groups.groups if each.size == 8)
    filters = [module.stem.weight.detach().double().numpy(), module.outer.weight.detach().double().numpy()]
    expected = sum((each.reshape(8, -1) ** 2).sum(axis=1) for each in filters)
    np.testing.assert_allclose(score_groups("l2", inputs)[group.name], np.sqrt(expected))


def test_a_weight_in_a_constant_node_has_a_norm_too() -> None:
    model = build("a = Conv(x, w1)  y = Conv(a, w2)", {"w1": (3, 3, 1, 1), "w2": (2, 3, 1, 1)})
    first = next(tensor for tensor in model.graph.initializer if tensor.name == "w1")
    value = onnx.numpy_helper.to_array(first)
    model.graph.initializer.remove(first)
    model.graph.node.insert(0, onnx.helper.make_node("Constant", [], ["w1"], value=first))
    found = score_groups("l1", ScoreInputs(analyse(model), model))
    np.testing.assert_allclose(found["w1"], np.abs(value.astype(np.float64)).sum(axis=(1, 2, 3)))


def test_random_scores_come_from_the_seed_alone() -> None:
    inputs = case(Residual).inputs
    one, same, other = (score_groups("random", replace(inputs, seed=seed)) for seed in (1, 1, 2))
    for group in inputs.groups.groups:
        np.testing.assert_array_equal(one[group.name], same[group.name])
        assert not np.array_equal(one[group.name], other[group.name])


def test_scores_are_one_float64_a_channel() -> None:
    inputs = case(Residual).inputs
    for name in score_names():
        found = score_groups(name, inputs)
        assert {group: (values.shape, values.dtype) for group, values in found.items()} == {
            group.name: ((group.size,), np.float64) for group in inputs.groups.groups
        }


def test_an_unknown_score_is_told_with_the_known_ones() -> None:
    with pytest.raises(InputError, match="no score is called 'wand': expected one of agf, l1, l2, random, taylor"):
        score_groups("wand", case(Flat).inputs)


def test_a_name_is_registered_once() -> None:
    score_names()
    with pytest.raises(ValueError, match="'l1' is registered already"):
        score("l1")(lambda inputs: {})


def test_a_score_that_is_not_finite_names_its_group() -> None:
    module, (x, y) = seeded(Flat), samples()
    with torch.no_grad():
        module.conv.weight[0] = float("inf")
    with pytest.raises(InputError, match=r"score 'l1' is not finite for group 'conv\.weight'"):
        score_groups("l1", score_inputs(module, x, y))


def test_a_loss_that_is_not_finite_is_refused() -> None:
    module, (x, y) = seeded(Flat), samples()
    with torch.no_grad():
        module.linear.weight[0] = float("nan")
    with pytest.raises(InputError, match="the loss is nan in batch 0"):
        score_groups("agf", score_inputs(module, x, y))


def test_a_label_outside_the_head_is_refused() -> None:
    made = case(Flat)
    with pytest.raises(InputError, match="a label is 3: the model's head has 3 classes"):
        score_groups("agf", replace(made.inputs, y=np.append(made.y[:-1], 3)))


def test_a_bare_graph_has_no_gradient_score() -> None:
    with pytest.raises(InputError, match="use l1, l2 or random for a bare graph"):
        score_groups("agf", replace(case(Flat).inputs, export=None))


def test_an_empty_set_is_refused() -> None:
    inputs = case(Flat).inputs
    with pytest.raises(InputError, match="at least one labelled input"):
        score_groups("agf", replace(inputs, x=np.empty((0, 1, SIDE, SIDE), np.float32), y=np.empty(0, np.int64)))
