"""Multiply-accumulates and parameters, counted by hand."""

from __future__ import annotations

import pytest

import agfedge_export as ax
from nets import SIDE, Depthwise, Residual, exported, samples, seeded
from pruning import build, half


def macs(body: str, weights: dict[str, tuple[int, ...]], inputs: str = "float[N,3,8,8] x") -> int:
    return ax.graph_costs(build(body, weights, inputs=inputs)).macs


@pytest.mark.parametrize(
    ("body", "weights", "by_hand"),
    [
        ("y = Conv<pads = [1,1,1,1]>(x, w)", {"w": (5, 3, 3, 3)}, 5 * 8 * 8 * 3 * 9),
        ("y = Conv(x, w)", {"w": (5, 3, 3, 3)}, 5 * 6 * 6 * 3 * 9),
        ("y = Conv<strides = [2,2]>(x, w)", {"w": (5, 3, 1, 1)}, 5 * 4 * 4 * 3),
        ("y = Conv<group = 3>(x, w)", {"w": (6, 1, 3, 3)}, 6 * 6 * 6 * 9),
        ("y = ConvTranspose<strides = [2,2]>(x, w)", {"w": (3, 5, 2, 2)}, 3 * 8 * 8 * 5 * 4),
        ("f = Flatten(x)  y = Gemm(f, w)", {"w": (192, 7)}, 192 * 7),
        ("f = Flatten(x)  y = Gemm<transB = 1>(f, w)", {"w": (7, 192)}, 192 * 7),
        ("y = MatMul(x, w)", {"w": (8, 4)}, 3 * 8 * 8 * 4),
        ("y = Relu(x)", {}, 0),
    ],
)
def test_macs_of_one_node(body: str, weights: dict[str, tuple[int, ...]], by_hand: int) -> None:
    assert macs(body, weights) == by_hand


def test_macs_of_attention_count_both_products() -> None:
    body = "t = Transpose<perm = [0,2,1]>(x)  s = MatMul(x, t)  y = MatMul(s, x)"
    assert macs(body, {}, "float[N,10,16] x") == 10 * 16 * 10 + 10 * 10 * 16


def test_a_network_by_hand() -> None:
    module, (x, _) = seeded(Residual), samples()
    found = ax.graph_costs(exported(module, x).model)
    pixels = SIDE * SIDE
    assert found.macs == pixels * (8 * 9 + 6 * 8 * 9 + 8 * 6 * 9) + 8 * 3
    weights = sum(value.numel() for value in module.parameters())
    assert found.parameters == weights + 2 * 8, "weights, and the running mean and variance of eight channels"


def test_a_depthwise_network_by_hand() -> None:
    found = ax.graph_costs(exported(seeded(Depthwise), samples()[0]).model)
    assert found.macs == SIDE * SIDE * (8 * 9 + 16 * 9) + 16 * 3


def test_a_pruned_network_costs_what_its_plan_says() -> None:
    model = exported(seeded(Residual), samples()[0]).model
    groups = ax.analyse(model)
    pruned = ax.graph_costs(ax.prune(model, ax.make_plan(groups, half(groups))).model)
    assert pruned.macs == SIDE * SIDE * (4 * 9 + 3 * 4 * 9 + 4 * 3 * 9) + 4 * 3


def test_at_stake_is_every_layer_that_a_group_enters_or_leaves() -> None:
    model = exported(seeded(Residual), samples()[0]).model
    groups = ax.analyse(model)
    stakes = {group.size: stake.macs for group, stake in zip(groups.groups, groups.costs_at_stake(), strict=True)}
    pixels = SIDE * SIDE
    assert stakes == {8: pixels * (8 * 9 + 2 * 6 * 8 * 9) + 8 * 3, 6: pixels * 2 * 6 * 8 * 9}
