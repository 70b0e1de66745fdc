"""What a plan fits: whatever changes it changes its key."""

from __future__ import annotations

import dataclasses
import json

import pytest

from agfedge_runtime.engines.tensorrt.build.builder import BuildOptions
from agfedge_runtime.engines.tensorrt.build.device import Device
from agfedge_runtime.engines.tensorrt.build.graph import read_graph
from agfedge_runtime.engines.tensorrt.build.record import KEY_FIELDS, EngineKey, PlanRecord, UnusableError, engine_key
from tensorrt_graphs import fake_library, write_graph

ORIN = Device("Orin", "8.7", 8, True, "NVIDIA Jetson Orin Nano", "36.4.3")
KEY = EngineKey(
    onnx_sha256="00ff",
    library="tensorrt",
    version="10.3.0",
    gpu="Orin",
    compute_capability="8.7",
    multiprocessors=8,
    module="NVIDIA Jetson Orin Nano",
    l4t="36.4.3",
    precision="fp16",
    batch=(1, 1, 8),
    dla=None,
    flags=("FP16", "TF32"),
    optimization_level=None,
)
OTHERS = {
    "onnx_sha256": "00fe",
    "library": "tensorrt_rtx",
    "version": "10.3.1",
    "gpu": "Thor",
    "compute_capability": "11.0",
    "multiprocessors": 4,
    "module": "",
    "l4t": "36.4.4",
    "precision": "fp32",
    "batch": (1, 1, 4),
    "dla": 0,
    "flags": ("TF32",),
    "optimization_level": 3,
}
RECORD = PlanRecord(KEY, "ab" * 32, "fp16", 12.5, None, ("by the way",))


def key_of(
    tmp_path, monkeypatch, version: str = "10.3.0", graph: str = "fp32", asked: str = "best", device: Device = ORIN
) -> EngineKey:
    _, library = fake_library(version, monkeypatch)
    return engine_key(library, device, read_graph(write_graph(tmp_path, graph)), BuildOptions(asked))


def test_every_field_has_another_value_here():
    assert tuple(OTHERS) == KEY_FIELDS


@pytest.mark.parametrize("field", KEY_FIELDS)
def test_every_field_counts(field):
    assert dataclasses.replace(KEY, **{field: OTHERS[field]}).digest != KEY.digest


def test_the_digest_is_a_file_name_and_stays_the_same():
    assert KEY.digest == dataclasses.replace(KEY).digest
    assert len(KEY.digest) == 32
    assert set(KEY.digest) <= set("0123456789abcdef")


def test_a_key_holds_the_graph_the_library_and_the_device(tmp_path, monkeypatch):
    key = key_of(tmp_path, monkeypatch)
    assert key.onnx_sha256 == read_graph(tmp_path / "light.onnx").sha256
    assert (key.library, key.version) == ("tensorrt", "10.3.0.0")
    assert (key.compute_capability, key.multiprocessors, key.module, key.l4t) == (
        "8.7", 8, "NVIDIA Jetson Orin Nano", "36.4.3",
    )  # fmt: skip
    assert (key.precision, key.flags) == ("fp16", ("FP16", "TF32"))


def test_a_key_says_that_the_types_decide(tmp_path, monkeypatch):
    assert key_of(tmp_path, monkeypatch, "11.1").flags == ("TF32", "STRONGLY_TYPED")
    assert key_of(tmp_path, monkeypatch, "10.3.0", "int8").flags == ("TF32", "STRONGLY_TYPED")


@pytest.mark.parametrize("version", ["8.6.1", "10.16", "11.1"])
@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_the_best_of_a_graph_of_its_own_precision_is_that_precision(version, precision, tmp_path, monkeypatch):
    by_name = key_of(tmp_path, monkeypatch, version, precision, asked=precision)
    assert key_of(tmp_path, monkeypatch, version, precision) == by_name


def test_another_power_mode_is_another_key(tmp_path, monkeypatch):
    saving = dataclasses.replace(ORIN, multiprocessors=4)
    assert key_of(tmp_path, monkeypatch).digest != key_of(tmp_path, monkeypatch, device=saving).digest


def test_a_record_reads_back():
    assert PlanRecord.from_json(RECORD.to_json()) == RECORD


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("schema",), 2),
        (("precision",), "best"),
        (("plan_sha256",), None),
        (("seconds",), "long"),
        (("warnings",), "one"),
        (("key", "batch"), [1, 1]),
        (("key", "dla"), "zero"),
        (("key", "flags"), [1]),
        (("key",), {}),
        (("more",), 1),
    ],
)
def test_a_record_of_another_layout_is_not_used(path, value):
    document = json.loads(RECORD.to_json())
    *parents, last = path
    place = document
    for each in parents:
        place = place[each]
    place[last] = value
    with pytest.raises(UnusableError, match="its record: key"):
        PlanRecord.from_json(json.dumps(document))


@pytest.mark.parametrize("text", ["", "{", "[]", "null"])
def test_a_damaged_record_is_not_used(text):
    with pytest.raises(UnusableError, match="its record"):
        PlanRecord.from_json(text)
