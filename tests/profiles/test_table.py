"""A table of measured layers takes the place of the model's guesses, and the model fills its gaps."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agfedge_profiles import (
    CostModel,
    Kernel,
    LatencyTable,
    LayerPoint,
    load_cost_model,
    load_device,
    read_table,
    roofline_of,
    write_table,
)
from agfedge_runtime.errors import InputError

CONV = "Conv 3x3 stride 1x1 of 16x16"


def point(size: int, us: float, kind: str = CONV, channels: tuple[int, int] = (8, 8)) -> LayerPoint:
    return LayerPoint(kind, *channels, macs=size, elements=100, us=us, count=1)


TABLE = LatencyTable(
    device="generic:base",
    power_mode="MAXN",
    backend="tensorrt",
    backend_version="10.3.0",
    precision="fp16",
    threads=1,
    bundle_digest="ab" * 32,
    run_us=7.0,
    scale=3.0,
    layers=(point(1_000_000, 10.0), point(3_000_000, 20.0)),
)


def model(table: LatencyTable = TABLE) -> CostModel:
    return CostModel(load_device("generic"), table)


def predicted(size: float, kind: str = CONV) -> float:
    """Of one kernel, without what a run costs besides."""
    return model().latency_us([Kernel(size, 100, kind)]) - TABLE.run_us


def test_a_layer_that_was_measured_takes_what_was_measured() -> None:
    assert (predicted(1e6), predicted(3e6)) == (10.0, 20.0)


def test_between_measured_channel_counts_the_time_is_interpolated() -> None:
    assert predicted(2e6) == pytest.approx(15.0)
    assert predicted(1.5e6) == pytest.approx(12.5)


def test_beyond_them_the_model_is_scaled_to_the_nearest() -> None:
    roofline = roofline_of(load_device("generic"))
    for size, nearest in ((3e8, point(3_000_000, 20.0)), (1e4, point(1_000_000, 10.0))):
        scale = nearest.us / roofline.kernel_us(Kernel(nearest.macs, nearest.elements))
        assert predicted(size) == pytest.approx(scale * roofline.kernel_us(Kernel(size, 100)))


def test_a_kind_that_was_not_measured_is_the_model_at_the_tables_scale() -> None:
    bare = CostModel(load_device("generic")).latency_us([Kernel(5e6, 100, "Conv 5x5 stride 1x1 of 16x16")])
    assert predicted(5e6, "Conv 5x5 stride 1x1 of 16x16") == pytest.approx(3 * bare)


def test_a_run_costs_what_it_costs_beside_its_layers_once() -> None:
    assert model().latency_us([Kernel(1e6, 100, CONV)] * 3) == pytest.approx(7 + 3 * 10)


def test_layers_of_one_size_and_other_channels_are_averaged() -> None:
    twice = replace(TABLE, layers=(point(1_000_000, 10.0, channels=(4, 16)), replace(point(1_000_000, 16.0), count=2)))
    assert model(twice).latency_us([Kernel(1e6, 100, CONV)]) == pytest.approx(7 + 14)


@given(size=st.floats(1e6, 3e6))
def test_more_work_between_two_measurements_never_takes_less(size: float) -> None:
    assert 10.0 - 1e-9 <= predicted(size) <= 20.0 + 1e-9
    assert predicted(size) <= predicted(min(size * 1.1, 3e6)) + 1e-9


def test_a_table_comes_back_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    write_table(path, TABLE)
    assert read_table(path) == TABLE
    loaded = load_cost_model(str(path))
    assert (loaded.table, loaded.device) == (TABLE, load_device("generic"))
    assert loaded.name == "generic:base by a table of measured layers"


def test_a_name_without_a_table_is_a_profile() -> None:
    loaded = load_cost_model("jetson-orin-nano-8:super")
    assert (loaded.table, loaded.name, loaded.default_precision) == (None, "jetson-orin-nano-8:super", "fp16")


def test_a_table_is_of_one_precision() -> None:
    fp32 = model(replace(TABLE, precision="fp32"))
    assert fp32.default_precision == "fp32"
    assert fp32.latency_us([Kernel(1e6, 100, CONV)], "fp32") == 17.0
    with pytest.raises(InputError, match=r"tensorrt 10.3.0 is of fp32, asked for int8: measure that"):
        fp32.latency_us([], "int8")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 2}, "schema: expected 1, got 2"),
        ({"more": 1}, "more: unknown"),
        ({"scale": 0.0}, "scale: expected more than 0"),
        ({"run_us": -1.0}, "run_us: expected a number >= 0"),
        ({"precision": "fp64"}, "precision: expected one of fp32, fp16, int8"),
        ({"layers": [{"kind": "Conv"}]}, r"layers\[0\].channels_in: missing"),
        ({"layers": [{**asdict(point(1, 1.0)), "us": 0}]}, r"layers\[0\].us: expected more than 0"),
    ],
)
def test_a_table_is_read_strictly(tmp_path: Path, change: dict[str, object], message: str) -> None:
    path = tmp_path / "table.json"
    write_table(path, TABLE)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(InputError, match=message) as caught:
        load_cost_model(str(path))
    assert "table.json" in str(caught.value)


def test_a_file_that_is_no_table_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        load_cost_model(str(tmp_path / "none.json"))
    (tmp_path / "other.json").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="is no text"):
        load_cost_model(str(tmp_path / "other.json"))
    (tmp_path / "other.json").write_text("[1, 2")
    with pytest.raises(InputError, match="not plain JSON"):
        load_cost_model(str(tmp_path / "other.json"))
