"""Half of every group removed from real architectures: removed equals masked, and what was asked for is gone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from replay import replayed_mask

import agfedge_export as ax
from families import FAMILIES, Family
from gallery import Case, digest

if TYPE_CHECKING:
    from gallery import Gallery

TOLERANCE = 1e-4


@pytest.fixture(scope="module", params=FAMILIES, ids=str)
def family(request: pytest.FixtureRequest) -> Family:
    return request.param


@pytest.fixture(scope="module")
def case(family: Family, gallery: Gallery) -> Case:
    return gallery.case(family)


def feeds(model: onnx.ModelProto) -> list[dict[str, np.ndarray]]:
    """Standard normal inputs of batch one, and of batch three where the batch is symbolic."""
    generator = np.random.default_rng(3)
    dims = {value.name: list(value.type.tensor_type.shape.dim) for value in model.graph.input}
    symbolic = any(dim.dim_param for each in dims.values() for dim in each)
    return [
        {
            name: generator.standard_normal([dim.dim_value or batch for dim in each]).astype(np.float32)
            for name, each in dims.items()
        }
        for batch in ([1, 3] if symbolic else [1])
    ]


def test_removed_equals_masked_on_random_and_extreme_inputs(case: Case) -> None:
    assert ax.check(case.masked, case.pruned).max_relative_error < np.inf


def test_a_mask_replayed_from_the_plan_by_numpy_alone_says_the_same_at_each_batch(case: Case) -> None:
    text = case.plan.to_json()
    assert ax.Plan.from_json(text) == case.plan
    report = ax.compare(replayed_mask(case.model, text), case.pruned, feeds(case.model))
    assert report.max_relative_error < TOLERANCE


def test_the_outputs_would_show_a_wrong_channel(case: Case) -> None:
    assert ax.compare(case.model, case.pruned, feeds(case.model)[:1]).max_relative_error > 10 * TOLERANCE


def test_the_macs_left_are_within_the_familys_bound(case: Case, family: Family) -> None:
    assert ax.graph_costs(case.pruned).macs <= family.bound * ax.graph_costs(case.model).macs, family.why


def test_the_pruned_graph_passes_the_checker(case: Case) -> None:
    onnx.checker.check_model(case.pruned, full_check=True)


def test_the_model_passed_in_is_unchanged(case: Case) -> None:
    assert digest(case.model) == case.digest
