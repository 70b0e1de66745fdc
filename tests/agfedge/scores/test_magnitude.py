"""Scores of weights, and random ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx

from agfedge.scores import ScoreInputs, score_groups
from agfedge_export import analyse
from nets import Flat, Residual, case
from pruning import build


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


def scored(name: str, weights: list[float]) -> np.ndarray:
    """The scores of one layer whose filters hold one weight each."""
    model = build(
        "a = Conv(x, w1)  y = Conv(a, w2)",
        {"w1": (len(weights), 1, 1, 1), "w2": (2, len(weights), 1, 1)},
        inputs="float[N,1,4,4] x",
    )
    value = np.array(weights, dtype=np.float32).reshape(-1, 1, 1, 1)
    model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(value, "w1"))
    return score_groups(name, ScoreInputs(analyse(model), model))["w1"]


def test_lamp_divides_a_square_by_those_that_are_not_smaller() -> None:
    np.testing.assert_allclose(scored("lamp", [3, -1, 2]), [1, 1 / (1 + 4 + 9), 4 / (4 + 9)])


def test_lamp_gives_equal_filters_equal_scores_and_none_to_empty_ones() -> None:
    np.testing.assert_allclose(scored("lamp", [2, 2, 1, 0]), [0.5, 0.5, 1 / 9, 0])
    assert not scored("lamp", [0, 0]).any()


def test_lamp_adds_up_the_squares_of_coupled_filters_first() -> None:
    inputs = case(Residual).inputs
    (group,) = (each for each in inputs.groups.groups if each.size == 8)
    squared = score_groups("l2", inputs)[group.name] ** 2
    expected = [own / squared[squared >= own].sum() for own in squared]
    np.testing.assert_allclose(score_groups("lamp", inputs)[group.name], expected)


def test_random_scores_come_from_the_seed_alone() -> None:
    inputs = case(Residual).inputs
    one, same, other = (score_groups("random", replace(inputs, seed=seed)) for seed in (1, 1, 2))
    for group in inputs.groups.groups:
        np.testing.assert_array_equal(one[group.name], same[group.name])
        assert not np.array_equal(one[group.name], other[group.name])
