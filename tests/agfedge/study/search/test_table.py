"""A search by a table of layers that were measured on a device."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from agfedge.allocate import AllocationRequest
from agfedge.recover import Recovery
from agfedge.router import Bound
from agfedge.study.search import Search, SearchRequest
from agfedge_profiles import LatencyTable, LayerPoint, write_table
from agfedge_runtime.errors import InputError
from asking import search_request
from workshop import Workshop

TABLE = LatencyTable(
    device="generic:base",
    power_mode="",
    backend="onnxruntime",
    backend_version="1.23",
    precision="fp32",
    threads=1,
    bundle_digest="ab" * 32,
    run_us=1.0,
    scale=0.5,
    layers=(LayerPoint("Conv 3x3 stride 1x1 of 6x6", 8, 8, macs=20736, elements=1200, us=40.0, count=1),),
)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "table.json"
    write_table(path, TABLE)
    return path


@pytest.fixture
def by_table(workshop: Workshop, tmp_path: Path, table: Path) -> SearchRequest:
    return search_request(
        origin=workshop.origin,
        out=str(tmp_path / "search"),
        amounts=(AllocationRequest(keep=0.5),),
        depths=(),
        trunks=("none",),
        recovery=Recovery(epochs=0),
        target=str(table),
        bound=Bound(0.1, 0.2),
    )


def test_costs_are_those_of_the_table_and_the_result_says_so(by_table: SearchRequest) -> None:
    result = Search(by_table).run()
    assert result.cost_note == "predicted latency on generic:base at fp32, by a table of measured layers"
    (point,) = result.points
    assert 0 < point.light < 1


def test_a_table_that_was_measured_again_begins_another_search(by_table: SearchRequest, table: Path) -> None:
    Search(by_table)
    Search(by_table)
    write_table(table, replace(TABLE, scale=0.7))
    with pytest.raises(InputError, match="points of another search"):
        Search(by_table)


def test_a_budgets_table_counts_too(by_table: SearchRequest, table: Path) -> None:
    budget = AllocationRequest(budget=0.9, target=str(table))
    request = replace(by_table, costs="macs", amounts=(budget,))
    Search(request)
    write_table(table, replace(TABLE, scale=0.7))
    with pytest.raises(InputError, match="points of another search"):
        Search(request)
