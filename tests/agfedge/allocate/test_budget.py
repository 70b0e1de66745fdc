"""Groups that compete, and budgets: what is spent is measured on the graph that is left."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

import agfedge_export as ax
from agfedge.allocate import Allocation, AllocationRequest, Budget, allocate, plan_for_budget
from agfedge.allocate.estimate import CostEstimate
from agfedge.allocate.kernels import graph_kernels
from agfedge.allocate.units import normalised
from agfedge.cli import main
from agfedge_export import ChannelGroups, Group, Member
from agfedge_profiles import load_cost_model
from agfedge_runtime.errors import InputError
from pruning import build

DEVICE = load_cost_model("jetson-orin-nano-8")
BLOCK = """c{n} = Conv<pads = [1,1,1,1]>({x}, u{n})  r{n} = Relu(c{n})  d{n} = Conv<pads = [1,1,1,1]>(r{n}, v{n})
  s{n} = Add(d{n}, {x})  t{n} = Relu(s{n})"""


def residual(blocks: int = 6) -> onnx.ModelProto:
    """A stem, residual blocks of 12 inner channels on a stream of 16, a head."""
    body = " ".join(BLOCK.format(n=n, x=f"t{n - 1}") for n in range(1, blocks + 1))
    shapes = {"w0": (16, 3, 3, 3), "w9": (4, 16, 1, 1)}
    for n in range(1, blocks + 1):
        shapes |= {f"u{n}": (12, 16, 3, 3), f"v{n}": (16, 12, 3, 3)}
    return build(f"c0 = Conv<pads = [1,1,1,1]>(x, w0)  t0 = Relu(c0)  {body}  y = Conv(t{blocks}, w9)", shapes)


MODEL = residual()
GROUPS = ax.analyse(MODEL)


def scores(groups: ChannelGroups = GROUPS, seed: int = 0) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    return {each.name: generator.uniform(0.2, 1, each.size) * generator.lognormal() for each in groups.groups}


def plain(sizes: Sequence[int]) -> ChannelGroups:
    groups = []
    for number, size in enumerate(sizes):
        member = Member(f"g{number}", 0, 0, 0, "produces", np.arange(size))
        groups.append(Group(f"g{number}", size, (member,), (), np.zeros(size, dtype=np.int64)))
    return cast("ChannelGroups", SimpleNamespace(groups=tuple(groups)))


# -- groups that compete ----------------------------------------------------------------------------------------


def test_the_scale_of_a_group_does_not_decide_against_another() -> None:
    worth = {"g0": np.array([1.0, 2.0, 3.0, 4.0]), "g1": 1000 * np.array([1.0, 2.0, 3.0, 4.0])}
    found = allocate(plain([4, 4]), worth, Allocation(0.5, kind="global"))
    assert [list(units) for units in found.values()] == [[2, 3], [2, 3]]


def test_a_group_of_few_important_channels_keeps_those_alone() -> None:
    worth = {"g0": np.array([10.0, 0.1, 0.1, 0.1]), "g1": np.ones(4)}
    found = allocate(plain([4, 4]), worth, Allocation(0.625, kind="global"))
    assert [len(units) for units in found.values()] == [1, 4]


def test_the_floor_keeps_a_layer_from_collapsing() -> None:
    worth = {"g0": np.array([100.0, *[0.01] * 9]), "g1": np.ones(10)}
    found = allocate(plain([10, 10]), worth, Allocation(0.5, kind="global", floor=0.4))
    assert len(found["g0"]) == 4


def test_scores_that_are_all_nought_are_normalised_to_nought() -> None:
    assert normalised(np.zeros(3)).tolist() == [0, 0, 0]


@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=5),
    keep=st.floats(0.3, 1.0),
    more=st.floats(0.0, 1.0),
    seed=st.integers(0, 99),
)
def test_floors_hold_the_share_is_never_passed_and_more_keeps_more(
    sizes: list[int], keep: float, more: float, seed: int
) -> None:
    groups = plain(sizes)
    worth = scores(groups, seed)
    low, high = min(1.0, max(keep, sum(max(1, -(-size // 5)) for size in sizes) / sum(sizes))), 1.0
    larger = low + more * (high - low)
    counts = []
    for share in (low, larger):
        how = Allocation(share, kind="global", floor=0.2)
        found = allocate(groups, worth, how)
        again = allocate(groups, worth, how)
        assert all((found[name] == again[name]).all() for name in found)
        assert all(len(units) >= 0.2 * size for units, size in zip(found.values(), sizes, strict=True))
        counts.append(sum(len(units) for units in found.values()))
        assert share * sum(sizes) - 1 - 1e-6 <= counts[-1] <= share * sum(sizes) + 1e-6
    assert counts[0] <= counts[1]


@given(sizes=st.lists(st.integers(16, 64), min_size=2, max_size=4), keep=st.floats(0.6, 1.0), seed=st.integers(0, 99))
def test_alignment_holds_where_groups_compete(sizes: list[int], keep: float, seed: int) -> None:
    groups = plain(sizes)
    found = allocate(groups, scores(groups, seed), Allocation(keep, align=8, kind="global"))
    stays = [len(units) for units in found.values()]
    assert all(left % 8 == 0 or left == size for left, size in zip(stays, sizes, strict=True))
    assert sum(stays) <= keep * sum(sizes) + 1e-6


# -- budgets on graphs ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.25, 0.5])
def test_the_estimate_is_what_surgery_leaves(share: float) -> None:
    keep = dict(allocate(GROUPS, scores(), Allocation(share)))
    keep["u2"] = keep["u5"] = np.zeros(0, dtype=np.int64)
    pruned = ax.prune(MODEL, ax.make_plan(GROUPS, keep)).model
    estimate, costs = CostEstimate(GROUPS), ax.graph_costs(pruned)
    assert estimate.macs(keep) == pytest.approx(costs.macs)
    assert estimate.parameters(keep) == pytest.approx(costs.parameters, abs=64)  # constants that branches leave
    real = DEVICE.latency_us(graph_kernels(pruned))
    assert DEVICE.latency_us(estimate.kernels(keep)) == pytest.approx(real, rel=0.02)


@pytest.mark.parametrize("kind", ["uniform", "global"])
@pytest.mark.parametrize("of", ["width", "macs", "parameters"])
@pytest.mark.parametrize("share", [0.3, 0.7])
def test_a_budget_is_met_and_nearly_spent(kind: str, of: str, share: float) -> None:
    made = plan_for_budget(MODEL, GROUPS, scores(), Allocation(kind=kind), Budget(share, of))
    assert made.spent is not None
    assert made.spent.after <= share * made.spent.before
    assert made.spent.after >= (share - 0.1) * made.spent.before
    measured = ax.graph_costs(made.model)
    assert of == "width" or made.spent.after == getattr(measured, of)


def test_branches_go_where_launches_bound_the_latency() -> None:
    how = Allocation(kind="global")
    made = plan_for_budget(MODEL, GROUPS, scores(), how, Budget(0.6, "latency", DEVICE, drop_branches=True))
    assert made.spent is not None
    assert made.spent.after <= 0.6 * made.spent.before
    assert 2 <= len(made.spent.dropped) <= 4
    assert [node.op_type for node in made.model.graph.node].count("Conv") == 14 - 2 * len(made.spent.dropped)


def test_the_branches_of_least_use_go_first() -> None:
    worth = {**scores(), "u3": np.full(12, 1e-6), "u6": np.full(12, 1e-6)}
    budget = Budget(0.8, "latency", DEVICE, drop_branches=True)
    made = plan_for_budget(MODEL, GROUPS, worth, Allocation(kind="global"), budget)
    assert made.spent is not None
    assert set(made.spent.dropped) <= {"u3", "u6"}


def test_a_budget_that_cannot_be_met_says_the_least_and_asking_for_that_works() -> None:
    with pytest.raises(InputError, match=r"cannot be met: 0\.\d+ is the least .*--drop-branches") as stopped:
        plan_for_budget(MODEL, GROUPS, scores(), Allocation(), Budget(0.1, "latency", DEVICE))
    least = float(str(stopped.value).split("met: ")[1].split()[0])
    made = plan_for_budget(MODEL, GROUPS, scores(), Allocation(), Budget(least, "latency", DEVICE))
    assert made.spent is not None
    assert made.spent.after <= least * made.spent.before


def test_attention_heads_stay_balanced_under_a_budget() -> None:
    body = """q0 = MatMul(x, wq)  k0 = MatMul(x, wk)  v0 = MatMul(x, wv)
      rows = Constant<value_ints = [0, 9, 4, 8]>()  q1 = Reshape(q0, rows)  k1 = Reshape(k0, rows)
      v1 = Reshape(v0, rows)  q = Transpose<perm = [0, 2, 1, 3]>(q1)  k = Transpose<perm = [0, 2, 3, 1]>(k1)
      v = Transpose<perm = [0, 2, 1, 3]>(v1)  a = MatMul(q, k)  b = Softmax(a)  c = MatMul(b, v)
      d = Transpose<perm = [0, 2, 1, 3]>(c)  flat = Constant<value_ints = [0, 9, 32]>()  e = Reshape(d, flat)
      y = MatMul(e, wo)"""
    model = build(body, dict.fromkeys(("wq", "wk", "wv", "wo"), (32, 32)), inputs="float[N,9,32] x")
    groups = ax.analyse(model)
    assert groups.groups
    for seed in range(4):
        made = plan_for_budget(model, groups, scores(groups, seed), Allocation(kind="global"), Budget(0.6, "macs"))
        assert made.spent is not None
        assert made.spent.after <= 0.6 * made.spent.before
        assert ax.check(ax.mask(model, made.plan), made.model).max_relative_error <= 1e-4


# -- options ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"budget": 0.0}, "--budget is 0.0: expected a share"),
        ({"budget": 1.5}, "--budget is 1.5: expected a share"),
        ({"budget": 0.5, "keep": 0.5}, "--keep and --budget both say"),
        ({"budget": 0.5, "of": "latency"}, "--of latency needs a device"),
        ({"budget": 0.5, "of": "macs", "target": "generic"}, "--target generic is for a budget of latency"),
        ({"budget": 0.5, "target": "jetson-orin-nano-9"}, "did you mean 'jetson-orin-nano-8'"),
        ({"target": "generic"}, "--target is part of a budget"),
        ({"floor": 0.2}, "--floor is part of a budget"),
        ({"budget": 0.5, "floor": 0.0}, "--floor is 0.0"),
        ({"budget": 0.5, "drop_branches": True}, "--drop-branches lets groups compete"),
        ({"budget": 0.5, "target_precision": "int8"}, "--target-precision is for a budget of latency"),
    ],
)
def test_options_that_do_not_fit_are_refused(given: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        AllocationRequest(**given).amount()  # type: ignore[arg-type]


def test_a_target_asks_for_latency_and_lets_groups_compete() -> None:
    found = AllocationRequest(budget=0.3, target="jetson-orin-nano-8").amount()
    assert found.budget is not None
    assert (found.allocation.kind, found.budget.of, found.budget.drop_branches) == ("global", "latency", True)


def test_the_command_prunes_to_a_latency_and_inspect_shows_what_stays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out, plan = (str(tmp_path / name) for name in ("m.onnx", "o.onnx", "plan.json"))
    onnx.save(MODEL, path)
    options = ("--target", "jetson-orin-nano-8", "--budget", "0.6", "--save-plan", plan)
    assert main(["prune", path, "-o", out, *options]) == 0
    assert "branches went whole" in capsys.readouterr().out
    assert main(["inspect", path, "--plan", plan, "--report", str(tmp_path / "page.html")]) == 0
    assert "." * 24 in capsys.readouterr().out
    assert "the plan keeps 0" in (tmp_path / "page.html").read_text()
    assert main(["inspect", path, "--plan", plan, "--json"]) == 0
    assert {each["kept"] for each in json.loads(capsys.readouterr().out)["groups"]} >= {0}
    assert main(["inspect", out, "--plan", plan]) == 1
    assert "the plan is for model" in capsys.readouterr().err
