"""Half of every group removed from real architectures: removed equals masked, and what was asked for is gone.

TensorRT-RTX's builder, which needs no GPU, takes every pruned graph.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest

import agfedge_export as ax
from families import CHOSEN, FAMILIES, PARAMETERS, Family
from nets import random_plan
from replay import replayed_mask
from tensorrt_build import builds

pytestmark = pytest.mark.slow

TOLERANCE = 1e-4
NEWEST_OPSET = 26  # that ONNX Runtime runs
BUILD_S = 120


@dataclass(frozen=True)
class Case:
    """A family's graph before and after half of every group was removed at random.

    Attributes:
        model: the very object that was analysed, pruned and masked.
        digest: of `model` before all that.
        plan: what was removed.
        masked, pruned: what `mask` and `prune` gave.
    """

    model: onnx.ModelProto
    digest: str
    plan: ax.Plan
    masked: onnx.ModelProto
    pruned: onnx.ModelProto


def digest(model: onnx.ModelProto) -> str:
    """Changes with every bit of the model."""
    return hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest()


@pytest.fixture(scope="module", params=PARAMETERS)
def family(request: pytest.FixtureRequest) -> Family:
    return request.param


@pytest.fixture(scope="module")
def case(family: Family) -> Case:
    model = family.graph()
    before = digest(model)
    plan = random_plan(ax.analyse(model))
    return Case(model, before, plan, ax.mask(model, plan), ax.prune(model, plan).model)


@pytest.fixture(scope="module")
def feeds(family: Family, case: Case) -> list[dict[str, np.ndarray]]:
    """Standard normal inputs of batch one, and of batch three where the batch is symbolic."""
    generator = np.random.default_rng(3)
    names = [value.name for value in case.model.graph.input]
    return [
        {
            name: generator.standard_normal((batch, *shape)).astype(np.float32)
            for name, shape in zip(names, family.net.shapes, strict=True)
        }
        for batch in ([1, 3] if family.net.batch == "symbolic" else [1])
    ]


def test_the_families_spread_over_exporters_batches_and_opsets() -> None:
    ways = {(each.net.exporter, each.net.batch, each.net.folded) for each in CHOSEN}
    assert {(way, batch, folded) for way in ("dynamo", "torchscript") for batch in ("fixed", "symbolic")
            for folded in (True, False)} <= ways  # fmt: skip
    assert {each.net.source.split("/")[0] for each in CHOSEN} == {"onnx", "own", "pytorchcv"}
    assert {each.net.family for each in CHOSEN} == {each.net.family for each in FAMILIES}
    assert {each.opset for each in CHOSEN} == set(range(11, NEWEST_OPSET + 1))


def test_removed_equals_masked_on_random_and_extreme_inputs(case: Case) -> None:
    report = ax.check(case.masked, case.pruned)
    assert report.max_relative_error <= max(TOLERANCE, 4 * report.rounding)


def test_a_mask_that_numpy_alone_makes_from_the_plan_says_the_same(
    case: Case, feeds: list[dict[str, np.ndarray]]
) -> None:
    text = case.plan.to_json()
    assert ax.Plan.from_json(text) == case.plan
    assert ax.compare(replayed_mask(case.model, text), case.pruned, feeds).max_relative_error <= TOLERANCE


def test_a_wrong_channel_would_be_seen(case: Case, feeds: list[dict[str, np.ndarray]]) -> None:
    """What was removed did something: the pruned graph differs from the original by far more than the tolerance."""
    assert ax.compare(case.model, case.pruned, feeds[:1]).max_relative_error > 10 * TOLERANCE


def test_the_macs_left_are_within_the_familys_bound(case: Case, family: Family) -> None:
    share = ax.graph_costs(case.pruned).macs / ax.graph_costs(case.model).macs
    assert share <= family.bound


def test_the_pruned_graph_passes_the_checker(case: Case) -> None:
    onnx.checker.check_model(case.pruned, full_check=True)


def test_the_model_passed_in_is_unchanged(case: Case) -> None:
    assert digest(case.model) == case.digest


@pytest.fixture(scope="module")
def builder() -> None:
    """In a process of its own: the libraries are large, and a wheel without them fails here and not in the tests."""
    done = subprocess.run(
        [sys.executable, "-c", "import tensorrt_rtx"], capture_output=True, text=True, check=False, timeout=BUILD_S
    )
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or [f"ended with {done.returncode}"])[-1]
        pytest.skip(f"tensorrt_rtx cannot be imported ({reason}): pip install tensorrt-rtx-cu13, for Linux on x86-64")


@pytest.mark.usefixtures("builder")
def test_tensorrt_builds_the_pruned_graph(case: Case, tmp_path: Path) -> None:
    outcome = built(case.pruned, tmp_path)
    if outcome == "yes":
        return
    before = built(case.model, tmp_path)
    assert before != "yes", f"the original builds, the pruned graph does not: {outcome}"
    pytest.skip(f"TensorRT-RTX builds neither the original nor the pruned graph: {before}")


def built(model: onnx.ModelProto, folder: Path) -> str:
    path = folder / "model.onnx"
    onnx.save(model, path)
    outcome = builds(path, BUILD_S)
    path.unlink()  # pytest would keep a gigabyte for three runs
    return outcome
