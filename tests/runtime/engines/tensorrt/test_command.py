"""`agfedge-runtime build`: every graph of a bundle becomes an engine, once."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import onnx
import onnx.numpy_helper
import pytest

from agfedge_runtime import cli
from agfedge_runtime.bundle.bundle import Bundle, write_bundle
from agfedge_runtime.bundle.manifest import Accuracy, Expert, Experts, Precision
from agfedge_runtime.engines.tensorrt.build import child, store
from agfedge_runtime.engines.tensorrt.build.device import Device
from agfedge_runtime.engines.tensorrt.build.library import open_library
from agfedge_runtime.engines.tensorrt.build.options import BuildOptions
from agfedge_runtime.engines.tensorrt.build.process import BuildRequest
from fake_tensorrt import FakeTensorRt
from tensorrt_graphs import skip_without_rtx

pytestmark = pytest.mark.slow


@pytest.fixture
def build(tiny, tmp_path, monkeypatch):
    """Runs the command on a tiny bundle and a machine without a GPU, in a cache of its own."""
    path = tiny.bundle().path
    monkeypatch.setattr(store, "find_device", Device)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def run(*arguments: object, bundle: Path = path) -> int:
        return cli.main(["build", str(bundle), *map(str, arguments)])

    return run


@pytest.fixture
def halved(tiny) -> Path:
    """A bundle that has its graphs in fp16, too."""
    plain = tiny.manifest()
    experts = Experts(Expert("light.fp16.onnx", 8, 8), Expert("heavy.fp16.onnx", 80, 80))
    half = Precision(experts, plain.router, "golden.fp16.npz", Accuracy(1.0, 1.0, 1.0, 9))
    graphs = {"light": tiny.light(), "heavy": tiny.heavy()}
    files = {"golden.fp16.npz": b"unread", **{f"{name}.onnx": graph for name, graph in graphs.items()}}
    for name, graph in graphs.items():
        model = onnx.load_from_string(graph)
        # Unread, and yet of the type that says how the graph was exported.
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.ones(1, np.float16), "half"))
        files[f"{name}.fp16.onnx"] = model.SerializeToString()
    files["prior.onnx"] = tiny.prior()
    manifest = dataclasses.replace(plain, precisions={**plain.precisions, "fp16": half})
    return write_bundle(tiny.folder / "halved", manifest, files).path


@pytest.fixture
def fake(monkeypatch) -> FakeTensorRt:
    """TensorRT 10.3 in place of the module, with builds in this process."""
    fake = FakeTensorRt("10.3.0")
    fake.install(monkeypatch)
    requests: list[BuildRequest] = []
    fake.requests = requests

    def build(request: BuildRequest):
        requests.append(request)
        return child.build(request)

    monkeypatch.setattr(store.EngineStore.__init__, "__defaults__", (None, None, build, False))
    return fake


def test_a_table_says_what_was_built(build, fake, capsys):
    assert build() == 0
    title, head, *rows = capsys.readouterr().out.splitlines()
    assert title == "TensorRT 10.3.0.0"
    assert head.split() == ["graph", "precision", "seconds", "MiB", "engine"]
    assert [row.split()[:2] for row in rows] == [
        ["light.onnx", "fp32"],
        ["heavy.onnx", "fp32"],
        ["prior.onnx", "fp32"],
    ]


def test_json_says_what_was_built_before(build, fake, capsys):
    for expected in (True, False):
        assert build("--json") == 0
        printed = json.loads(capsys.readouterr().out)
        assert (printed["library"], printed["version"]) == ("tensorrt", "10.3.0.0")
        assert [(each["graph"], each["built"]) for each in printed["engines"]] == [
            ("light.onnx", expected), ("heavy.onnx", expected), ("prior.onnx", expected),
        ]  # fmt: skip
        assert all(Path(each["plan"]).stat().st_size == each["bytes"] for each in printed["engines"])


def test_the_options_reach_the_builder(build, fake):
    fake.dla_cores = 1
    assert build("--precision", "fp32", "--batch-sizes", "1,2,4", "--workspace", 64, "--backend", "tensorrt") == 0
    assert {request.options for request in fake.requests} == {BuildOptions("fp32", (1, 2, 4), workspace=64)}


def test_a_dla_runs_one_input_at_a_time_unless_told(build, fake, halved):
    fake.dla_cores = 1
    assert build("--dla", 0, "--precision", "fp16", bundle=halved) == 0
    assert [request.options for request in fake.requests] == [
        *[BuildOptions("fp16", (1, 1, 1), dla=0)] * 2,
        BuildOptions("fp32", (1, 1, 1)),
    ]


def test_a_cascade_finds_the_engine_that_was_built(build, fake, tiny):
    for batch in ("1,2,4", "1,1,8"):
        assert build("--batch-sizes", batch) == 0
        made = len(fake.requests)
        found = store.EngineStore(open_library("tensorrt")).plan(
            tiny.folder / "bundle/light.onnx", BuildOptions("fp32")
        )
        assert found.key.batch == tuple(map(int, batch.split(",")))
        assert len(fake.requests) == made


@pytest.mark.parametrize("asked", ["fp16", "best"])
def test_a_precision_has_graphs_of_its_own(asked, build, fake, halved, capsys):
    assert build("--precision", asked, "--json", bundle=halved) == 0
    engines = json.loads(capsys.readouterr().out)["engines"]
    assert [(each["graph"], each["precision"]) for each in engines] == [
        ("light.fp16.onnx", "fp16"), ("heavy.fp16.onnx", "fp16"), ("prior.onnx", "fp32"),
    ]  # fmt: skip


def test_the_best_of_a_bundle_without_other_graphs_is_fp32(build, fake):
    assert build("--precision", "best") == 0
    assert {request.options.precision for request in fake.requests} == {"fp32"}


def test_engines_lie_beside_the_bundle_on_request_and_from_then_on(build, fake, tiny, tmp_path):
    assert build("--beside") == build() == 0
    assert len(fake.requests) == 3
    assert len(list((tiny.folder / "bundle.engines").glob("*.plan"))) == 3
    assert not (tmp_path / "cache").exists()


def test_it_builds_anew_on_request(build, fake):
    assert build() == build("--rebuild") == 0
    assert len(fake.requests) == 6


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("--batch-sizes", "1,2"), "expected three numbers"),
        (("--batch-sizes", "4,2,1"), "got the batch sizes 4,2,1"),
        (("--precision", "fp8"), "invalid choice"),
        (("--backend", "onnxruntime"), "invalid choice"),
        (("--dla", "one"), "invalid int value"),
    ],
)
def test_wrong_usage_exits_with_2(arguments, part, build, capsys):
    with pytest.raises(SystemExit) as caught:
        build(*arguments)
    assert caught.value.code == 2
    assert part in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("--dla", 0, "--batch-sizes", "1,1,2"), "runs one size alone"),
        (("--dla", 0), "got fp32 for a DLA"),
        (("--precision", "int8"), "got the precision 'int8', the bundle has fp32"),
        (("--workspace", 0), "expected at least 1"),
    ],
)
def test_what_cannot_be_is_one_line(arguments, part, build, fake, capsys):
    assert build(*arguments) == 1
    said = capsys.readouterr().err
    assert said.startswith("agfedge-runtime: ")
    assert said.count("\n") == 1
    assert part in said


def test_without_any_tensorrt_both_commands_are_told(build, monkeypatch, capsys):
    for name in ("tensorrt", "tensorrt_rtx"):
        monkeypatch.setitem(sys.modules, name, None)
    assert build() == 1
    said = capsys.readouterr().err
    assert "apt install" in said
    assert "pip install tensorrt-rtx" in said


def test_every_graph_of_a_real_bundle_builds(workshop, build, capsys):
    skip_without_rtx()
    capsys.readouterr()
    assert build("--backend", "tensorrt_rtx", "--json", bundle=workshop.bundle) == 0
    engines = json.loads(capsys.readouterr().out)["engines"]
    assert [(each["graph"], each["precision"]) for each in engines] == [
        ("light.onnx", "fp32"),
        ("heavy.onnx", "fp32"),
        *([] if not Bundle.open(workshop.bundle).manifest.router.asks_prior else [("prior.onnx", "fp32")]),
    ]


def test_every_graph_of_a_real_bundle_with_a_trunk_builds(workshop, build, tmp_path, capsys):
    skip_without_rtx()
    assert cli_of_the_workstation(workshop.export(tmp_path / "shared", **{"share-trunk": "stem"})) == 0
    capsys.readouterr()
    assert build("--backend", "tensorrt_rtx", "--json", bundle=tmp_path / "shared") == 0
    engines = json.loads(capsys.readouterr().out)["engines"]
    prior = ["prior.onnx"] if Bundle.open(tmp_path / "shared").manifest.router.asks_prior else []
    assert [each["graph"] for each in engines] == ["trunk.onnx", "light.onnx", "heavy.onnx", *prior]
    assert {each["precision"] for each in engines} == {"fp32"}


def cli_of_the_workstation(arguments: list[str]) -> int:
    from agfedge.cli import main

    return main(arguments)
