"""Half of every group removed from real architectures: removed equals masked, and what was asked for is gone."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

import agfedge_export as ax
from families import CHOSEN, FAMILIES, PARAMETERS, Family
from gallery import Case, Gallery, digest
from replay import replayed_mask

pytestmark = pytest.mark.slow

TOLERANCE = 1e-4
NEWEST_OPSET = 26  # that ONNX Runtime runs


@pytest.fixture(scope="module", params=PARAMETERS)
def family(request: pytest.FixtureRequest) -> Family:
    return request.param


@pytest.fixture(scope="module")
def case(family: Family, gallery: Gallery) -> Case:
    return gallery.case(family)


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
