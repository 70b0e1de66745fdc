"""A plan is plain data: it is written, read back and refused where it does not fit."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import agfedge_export as ax
from pruning import build, half

CHAIN = "a = Conv(x, w1, b1)  r = Relu(a)  b = Conv(r, w2)  q = Relu(b)  y = Conv(q, w3)"
WEIGHTS = {"w1": (8, 3, 1, 1), "b1": (8,), "w2": (6, 8, 1, 1), "w3": (4, 6, 1, 1)}


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    return build(CHAIN, WEIGHTS)


@pytest.fixture(scope="module")
def groups(model: onnx.ModelProto) -> ax.ChannelGroups:
    return ax.analyse(model)


@pytest.fixture(scope="module")
def plan(groups: ax.ChannelGroups) -> ax.Plan:
    return ax.make_plan(groups, {"w1": np.array([0, 3, 7]), "w2": np.array([1, 2])})


def test_the_file_has_the_layout_that_was_promised(plan: ax.Plan) -> None:
    document = json.loads(plan.to_json())
    assert sorted(document) == ["groups", "kept_whole", "model_sha256", "version"]
    assert document["version"] == 1
    first = document["groups"][0]
    assert {key: first[key] for key in ("name", "size", "keep")} == {"name": "w1", "size": 8, "keep": [0, 3, 7]}
    assert first["members"] == [
        {"tensor": "w1", "node": 0, "input": 1, "axis": 0, "role": "produces", "keep": [0, 3, 7]},
        {"tensor": "b1", "node": 0, "input": 2, "axis": 0, "role": "produces", "keep": [0, 3, 7]},
        {"tensor": "w2", "node": 2, "input": 1, "axis": 1, "role": "consumes", "keep": [0, 3, 7]},
    ]
    assert sorted(document["kept_whole"][0]) == ["axis", "node", "reason", "tensor"]


def test_a_plan_is_the_same_after_it_was_written_and_read(plan: ax.Plan) -> None:
    assert ax.Plan.from_json(plan.to_json()) == plan
    assert ax.Plan.from_json(plan.to_json()).to_json() == plan.to_json()


def test_a_plan_that_was_read_prunes_as_the_one_that_was_written(model: onnx.ModelProto, plan: ax.Plan) -> None:
    again = ax.prune(model, ax.Plan.from_json(plan.to_json()))
    assert again.model.SerializeToString() == ax.prune(model, plan).model.SerializeToString()


def test_units_may_come_in_any_order_and_twice(groups: ax.ChannelGroups, plan: ax.Plan) -> None:
    assert ax.make_plan(groups, {"w1": np.array([7, 0, 3, 0]), "w2": np.array([2, 1])}) == plan


def test_groups_that_are_not_named_stay_whole(groups: ax.ChannelGroups) -> None:
    plan = ax.make_plan(groups, {"w2": np.array([4])})
    assert [group.keep for group in plan.groups] == [tuple(range(8)), (4,)]


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_another_version_is_named(plan: ax.Plan, version: object) -> None:
    document = json.loads(plan.to_json()) | {"version": version}
    with pytest.raises(ax.PlanError, match=f"version {version}: this release reads version 1"):
        ax.Plan.from_json(json.dumps(document))


@pytest.mark.parametrize("key", ["groups", "kept_whole", "model_sha256", "version"])
def test_a_missing_key_is_named(plan: ax.Plan, key: str) -> None:
    document = json.loads(plan.to_json())
    del document[key]
    with pytest.raises(ax.PlanError, match=key):
        ax.Plan.from_json(json.dumps(document))


def with_first_member(**changes: object) -> Callable[[ax.PlanGroup], ax.PlanGroup]:
    return lambda group: replace(group, members=(replace(group.members[0], **changes), *group.members[1:]))


FORGED: dict[str, Callable[[ax.PlanGroup], ax.PlanGroup]] = {
    "a member less": lambda group: replace(group, members=group.members[:-1]),
    "another order of members": lambda group: replace(group, members=group.members[::-1]),
    "another axis": with_first_member(axis=1),
    "another role": with_first_member(role="carries"),
    "another tensor": with_first_member(tensor="w2"),
    "another node": with_first_member(node=9),
    "a member's own choice": with_first_member(keep=(0, 1, 2)),
    "another choice than its members'": lambda group: replace(group, keep=(0, 3, 6)),
    "another size": lambda group: replace(group, size=9),
}


@pytest.mark.parametrize("what", FORGED)
def test_a_plan_whose_parts_do_not_fit_each_other_is_refused(model: onnx.ModelProto, plan: ax.Plan, what: str) -> None:
    forged = replace(plan, groups=(FORGED[what](plan.groups[0]), *plan.groups[1:]))
    for refuse in (ax.prune, ax.mask):
        with pytest.raises(ax.PlanError, match="members are not those of its groups"):
            refuse(model, forged)


@pytest.mark.parametrize("keep", [[], [-1], [8], [0, 10**30]])
def test_a_file_with_units_that_do_not_exist_is_refused(model: onnx.ModelProto, plan: ax.Plan, keep: list[int]) -> None:
    document = json.loads(plan.to_json())
    document["groups"][0]["keep"] = keep
    with pytest.raises(ax.PlanError):
        ax.prune(model, ax.Plan.from_json(json.dumps(document)))


def test_a_group_that_the_file_lists_twice_or_not_at_all_is_refused(model: onnx.ModelProto, plan: ax.Plan) -> None:
    for listed in ((plan.groups[0], *plan.groups), plan.groups[:1], plan.groups[::-1]):
        with pytest.raises(ax.PlanError, match="members are not those"):
            ax.prune(model, replace(plan, groups=listed))


def test_a_plan_for_other_weights_is_refused(plan: ax.Plan) -> None:
    other = build(CHAIN, WEIGHTS)
    weight = onnx.numpy_helper.to_array(other.graph.initializer[0]).copy()
    weight[0, 0] += 1e-3
    other.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(weight, "w1"))
    with pytest.raises(ax.PlanError, match="the plan is for model"):
        ax.prune(other, plan)


def test_an_exact_plan_is_not_applied_across_norms() -> None:
    model = build(
        "a = MatMul(x, w1)  n = LayerNormalization(a, g)  y = MatMul(n, w2)",
        {"w1": (8, 6), "g": (6,), "w2": (6, 4)},
        inputs="float[N,5,8] x",
    )
    inexact = ax.analyse(model, inexact=True)
    plan = ax.make_plan(inexact, half(inexact))
    with pytest.raises(ax.PlanError):
        ax.prune(model, replace(plan, inexact=False))


def mutations() -> st.SearchStrategy[object]:
    return st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=5,
    )


@given(st.data())
@settings(derandomize=True, deadline=None, max_examples=150)
def test_whatever_a_file_holds_it_is_a_plan_or_a_plan_error(data: st.DataObject) -> None:
    model = build(CHAIN, WEIGHTS)
    groups = ax.analyse(model)
    document: object = json.loads(ax.make_plan(groups, half(groups)).to_json())
    spot = document
    while data.draw(st.booleans()) and isinstance(spot, dict | list) and spot:
        keys = list(spot) if isinstance(spot, dict) else list(range(len(spot)))
        key = data.draw(st.sampled_from(keys))
        if data.draw(st.booleans()) or not isinstance(spot[key], dict | list):
            spot[key] = data.draw(mutations())
            break
        spot = spot[key]
    try:
        ax.prune(model, ax.Plan.from_json(json.dumps(document)))
    except ax.PlanError as error:
        assert "\n" not in str(error)
