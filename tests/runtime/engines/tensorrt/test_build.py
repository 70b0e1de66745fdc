"""What the builder of each version is told, and what its refusals become."""

from __future__ import annotations

import hashlib
import json
import sys

import onnx
import pytest

from agfedge_runtime.engines.tensorrt.build import builder as build_module
from agfedge_runtime.engines.tensorrt.build.builder import BuildOptions, build_engine, less_workspace
from agfedge_runtime.engines.tensorrt.build.device import Device, find_device, free_memory_mib
from agfedge_runtime.engines.tensorrt.build.library import open_library
from agfedge_runtime.engines.tensorrt.build.precision import precision_of_layers
from agfedge_runtime.engines.tensorrt.build.timing import timing_path
from agfedge_runtime.errors import BackendError, InputError
from agfedge_runtime.machine.gpus import Gpu, GpuSearch
from fake_tensorrt import VERSIONS
from tensorrt_graphs import NODES, fake_library, model_of, skip_without_rtx, write_graph

ORIN = Device("Orin", "8.7", 8, True, "NVIDIA Jetson Orin Nano", "36.4.3")


def flags(built: build_module.Built) -> set[str]:
    """The builder flags of a fake's plan."""
    return set(json.loads(built.data.split(b"\n", 1)[1])["flags"])


def built_as(version: str, precision: str, asked: str, tmp_path, monkeypatch, **options: object) -> tuple:
    fake, library = fake_library(version, monkeypatch)
    built = build_engine(library, write_graph(tmp_path, precision), BuildOptions(asked, **options))
    return fake, built


@pytest.mark.parametrize("version", ["8.5.2", "8.6.1", "10.3.0", "10.13.3", "10.16"])
@pytest.mark.parametrize(
    ("asked", "expected"),
    [("fp32", set()), ("fp16", {"FP16", "TF32"}), ("best", {"FP16", "TF32"})],
)
def test_up_to_10_flags_permit_a_precision(version, asked, expected, tmp_path, monkeypatch):
    _, built = built_as(version, "fp32", asked, tmp_path, monkeypatch)
    assert flags(built) == expected
    assert built.precision == ("fp32" if asked == "fp32" else "fp16")


@pytest.mark.parametrize(("precision", "expected"), [("fp16", {"FP16", "TF32"}), ("int8", {"INT8", "TF32"})])
@pytest.mark.parametrize("by_name", [True, False])
def test_8_takes_a_graph_of_its_own_precision_by_flags(precision, expected, by_name, tmp_path, monkeypatch):
    fake, built = built_as("8.6.1", precision, precision if by_name else "best", tmp_path, monkeypatch)
    assert flags(built) == expected
    assert fake.called("Builder.create_network") == [(1,)]


@pytest.mark.parametrize("version", ["10.3.0", "10.13.3", "10.16"])
@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_10_keeps_the_types_of_a_graph_of_its_own_precision(version, precision, tmp_path, monkeypatch):
    fake, built = built_as(version, precision, "best", tmp_path, monkeypatch)
    assert flags(built) == {"TF32"}
    assert fake.called("Builder.create_network") == [(2,)]
    assert built.precision == precision


@pytest.mark.parametrize("precision", NODES)
@pytest.mark.parametrize("by_name", [True, False])
def test_11_takes_the_precision_of_the_graph(precision, by_name, tmp_path, monkeypatch):
    asked = precision if by_name else "best"
    _, built = built_as("11.1", precision, asked, tmp_path, monkeypatch)
    assert built.precision == precision
    assert flags(built) == (set() if asked == "fp32" else {"TF32"})


def test_11_refuses_fp16_of_a_graph_in_fp32(tmp_path, monkeypatch):
    with pytest.raises(
        BackendError, match=r"light\.onnx: got a graph in fp32, expected one in fp16: .*export .* --precision fp16"
    ):
        built_as("11.1", "fp32", "fp16", tmp_path, monkeypatch)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("precision", "asked"), [("fp32", "int8"), ("fp16", "fp32"), ("int8", "fp16")])
def test_no_version_gives_what_the_types_forbid(version, precision, asked, tmp_path, monkeypatch):
    with pytest.raises(BackendError, match=f"got a graph in {precision}, expected one in {asked}"):
        built_as(version, precision, asked, tmp_path, monkeypatch)


def test_best_leaves_out_what_the_gpu_is_slow_at(tmp_path, monkeypatch):
    fake, library = fake_library("8.5.2", monkeypatch)
    monkeypatch.setattr(fake.module.Builder, "platform_has_fast_fp16", False)
    assert flags(build_engine(library, write_graph(tmp_path))) == {"TF32"}
    with pytest.raises(BackendError, match="no fast FP16"):
        build_engine(library, write_graph(tmp_path), BuildOptions("fp16"))


def test_a_dla_falls_back_to_the_gpu(tmp_path, monkeypatch):
    fake, library = fake_library("10.3.0", monkeypatch)
    fake.dla_cores = 2
    built = build_engine(library, write_graph(tmp_path), BuildOptions(dla=1, batch=(2, 2, 2)))
    assert flags(built) == {"FP16", "GPU_FALLBACK", "TF32"}
    assert fake.called("IBuilderConfig.DLA_core") == [(1,)]
    assert fake.called("IBuilderConfig.default_device_type") == [(fake.module.DeviceType.DLA,)]


@pytest.mark.parametrize(("cores", "there"), [(0, "no DLA"), (2, "cores 0 to 1")])
def test_a_dla_that_is_not_there_is_told(cores, there, tmp_path, monkeypatch):
    fake, library = fake_library("10.3.0", monkeypatch)
    fake.dla_cores = cores
    with pytest.raises(BackendError, match=f"got the DLA core 2, this device has {there}"):
        build_engine(library, write_graph(tmp_path), BuildOptions(dla=2, batch=(1, 1, 1)))


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"precision": "fp8"}, "expected one of fp32, fp16, int8, best"),
        ({"batch": (0, 1, 2)}, "got the batch sizes 0,1,2"),
        ({"batch": (1, 8, 4)}, "got the batch sizes 1,8,4"),
        ({"workspace": 0}, "got a workspace of 0 MiB"),
        ({"optimization_level": 6}, "got the optimisation level 6"),
        ({"dla": -1, "batch": (1, 1, 1)}, "got the DLA core -1"),
        ({"dla": 0}, "runs one size alone"),
        ({"dla": 0, "batch": (1, 1, 1), "precision": "fp32"}, "got fp32 for a DLA"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, part):
    with pytest.raises(InputError, match=part):
        BuildOptions(**options)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_optimisation_level_is_set_where_there_is_one(version, tmp_path, monkeypatch):
    fake, library = fake_library(version, monkeypatch)
    options = BuildOptions(optimization_level=5)
    if version == "8.5.2":
        with pytest.raises(BackendError, match="has no optimisation levels"):
            build_engine(library, write_graph(tmp_path), options)
        return
    build_engine(library, write_graph(tmp_path), options)
    assert fake.called("IBuilderConfig.builder_optimization_level") == [(5,)]


def workspaces(fake) -> list[int]:
    return [size // 2**20 for _pool, size in fake.called("IBuilderConfig.set_memory_pool_limit")]


@pytest.mark.parametrize(
    ("free", "asked", "expected"), [(3000, None, [1500]), (3000, 200, [200]), (300, 200, [150]), (None, None, [])]
)
def test_the_workspace_is_at_most_half_of_what_is_free(free, asked, expected, tmp_path, monkeypatch):
    fake, library = fake_library("8.6.1", monkeypatch)
    monkeypatch.setattr(build_module, "free_memory_mib", lambda device: free)
    built = build_engine(library, write_graph(tmp_path), BuildOptions(workspace=asked))
    assert workspaces(fake) == expected
    assert built.workspace == (expected or [None])[0]


@pytest.mark.parametrize("message", ["Error Code 2: OutOfMemory (no further information)", "CUDA error: out of memory"])
def test_out_of_memory_is_tried_again_with_half_the_workspace(message, tmp_path, monkeypatch):
    fake, library = fake_library("10.3.0", monkeypatch)
    fake.build_failures = [message, message]
    assert build_engine(library, write_graph(tmp_path), BuildOptions(workspace=400)).workspace == 100
    assert workspaces(fake) == [400, 200, 100]


def test_out_of_memory_without_a_bound_is_tried_again_with_one(tmp_path, monkeypatch):
    fake, library = fake_library("11.1", monkeypatch)
    fake.build_failures = ["out of memory"]
    assert build_engine(library, write_graph(tmp_path)).workspace == 1024


def test_out_of_memory_ends_at_a_floor(tmp_path, monkeypatch):
    fake, library = fake_library("10.3.0", monkeypatch)
    fake.build_failures = ["out of memory"] * 99
    with pytest.raises(BackendError, match="ran out of memory while building with a workspace of 25 MiB, the least"):
        build_engine(library, write_graph(tmp_path), BuildOptions(workspace=100))
    assert workspaces(fake) == [100, 50, 25]


def test_the_floor_is_16_mib():
    assert [less_workspace(None), less_workspace(32), less_workspace(31)] == [1024, 16, None]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_null_engine_is_an_error_with_the_reason(version, tmp_path, monkeypatch):
    fake, library = fake_library(version, monkeypatch)
    fake.build_failures = ["Could not find any implementation for node product"]
    with pytest.raises(BackendError, match=r"light\.onnx: TensorRT .* cannot build an engine: Could not find"):
        build_engine(library, write_graph(tmp_path))


def test_an_older_failure_is_not_the_reason_of_a_newer_one(tmp_path, monkeypatch):
    fake, library = fake_library("10.3.0", monkeypatch)
    for reason in ("the first", "the second"):
        fake.build_failures = [reason]
        with pytest.raises(BackendError, match=f"cannot build an engine: {reason}"):
            build_engine(library, write_graph(tmp_path))


@pytest.mark.parametrize("version", VERSIONS)
def test_progress_is_shown_where_the_version_tells_it(version, tmp_path, monkeypatch, capsys):
    fake, library = fake_library(version, monkeypatch)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    build_engine(library, write_graph(tmp_path), progress=True)
    assert ("light: Building Engine" in capsys.readouterr().err) is hasattr(fake.module, "IProgressMonitor")


def test_without_a_terminal_there_are_no_bars(tmp_path, monkeypatch, capsys):
    _, library = fake_library("11.1", monkeypatch)
    build_engine(library, write_graph(tmp_path), progress=True)
    assert capsys.readouterr().err == ""


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "timing.cache"


def test_the_timing_cache_is_kept_and_used_again(cache, tmp_path, monkeypatch):
    fake, library = fake_library("8.5.2", monkeypatch)
    for _ in range(2):
        build_engine(library, write_graph(tmp_path), timing_cache=cache)
    given = [data for (data,) in fake.called("IBuilderConfig.create_timing_cache")]
    assert given == [b"", b"fake-timing-cache 8.5.2"]


def test_a_timing_cache_of_another_version_is_measured_anew(cache, tmp_path, monkeypatch):
    _, library = fake_library("8.6.1", monkeypatch)
    build_engine(library, write_graph(tmp_path), timing_cache=cache)
    fake, library = fake_library("10.3.0", monkeypatch)
    build_engine(library, write_graph(tmp_path), timing_cache=cache)
    given = [data for (data,) in fake.called("IBuilderConfig.create_timing_cache")]
    assert given == [b"fake-timing-cache 8.6.1", b""]
    assert cache.read_bytes()[32:] == b"fake-timing-cache 10.3.0"


@pytest.mark.parametrize("content", [b"", b"short", hashlib.sha256(b"one").digest() + b"two"])
def test_a_damaged_timing_cache_never_reaches_the_library(content, cache, tmp_path, monkeypatch):
    fake, library = fake_library("10.3.0", monkeypatch)
    cache.write_bytes(content)
    build_engine(library, write_graph(tmp_path), timing_cache=cache)
    assert fake.called("IBuilderConfig.create_timing_cache") == [(b"",)]


def test_a_timing_cache_is_of_one_version_and_device(tmp_path, monkeypatch):
    paths = {timing_path(tmp_path, fake_library(version, monkeypatch)[1], ORIN) for version in ("8.6.1", "10.3.0")}
    paths.add(timing_path(tmp_path, fake_library("10.3.0", monkeypatch)[1], Device("Orin", "8.7", 4)))
    assert len(paths) == 3


def layers(*formats: str, kind: str = "Conv", name: str = "conv") -> str:
    made = [{"Name": name, "LayerType": kind, "Outputs": [{"Name": "y", "Format/Datatype": each}]} for each in formats]
    return json.dumps({"Layers": made, "Bindings": ["x", "y"]})


@pytest.mark.parametrize(
    ("information", "expected"),
    [
        (layers("Float", "Half"), "fp16"),
        (layers("Channel major FP16 format where channel % 8 == 0", "Row major linear FP32"), "fp16"),
        (layers("Half", "Int8", "Float"), "int8"),
        (layers("Four wide channel vectorized row major Int8 format"), "int8"),
        (layers("Float", "Row major linear FP32"), "fp32"),
        (layers("UInt8", "Float"), "fp32"),
        (layers("Half", kind="Reformat"), None),
        (layers("Float", name="{ForeignNode[a...b]}"), None),
        (json.dumps({"Layers": ["conv", "relu"]}), None),
        ("", None),
        ("[]", None),
    ],
)
def test_the_layers_tell_the_real_precision(information, expected):
    assert precision_of_layers(information) == expected


def test_an_engine_of_another_precision_is_told(tmp_path, monkeypatch):
    _, library = fake_library("10.3.0", monkeypatch)
    monkeypatch.setattr(build_module, "real_precision", lambda library, plan: "fp32")
    built = build_engine(library, write_graph(tmp_path), BuildOptions("fp16"), ORIN)
    assert built.precision == "fp32"
    assert "was asked for fp16 and built fp32" in built.warnings[0]
    best = build_engine(library, write_graph(tmp_path), BuildOptions("best"), ORIN)
    assert (best.precision, best.warnings) == ("fp32", ())


def test_an_engine_that_cannot_be_read_back_is_refused(tmp_path, monkeypatch):
    _, library = fake_library("10.3.0", monkeypatch)
    with pytest.raises(BackendError, match="cannot read back the engine that it built: CUDA initialization failure"):
        build_engine(library, write_graph(tmp_path), device=ORIN)


def test_a_device_is_described_by_its_files_and_its_gpu(tmp_path):
    (tmp_path / "proc/device-tree").mkdir(parents=True)
    (tmp_path / "proc/device-tree/model").write_bytes(b"NVIDIA Jetson Orin Nano\0")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/nv_tegra_release").write_text("# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic\n")
    gpus = GpuSearch((Gpu("Orin", (8, 7), 8, 7620, True),), "12.6", "")
    assert find_device(tmp_path, lambda: gpus) == ORIN
    assert find_device(tmp_path / "nowhere", lambda: GpuSearch((), "", "no driver")) == Device()


def test_on_a_module_memory_is_free_where_the_kernel_says_so(tmp_path):
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text("MemTotal:  7802568 kB\nMemFree:  200 kB\nMemAvailable:    4096000 kB\n")
    assert free_memory_mib(ORIN, tmp_path) == 4000
    assert free_memory_mib(ORIN, tmp_path / "nowhere") is None
    assert free_memory_mib(Device(), tmp_path) is None


class CardDriver:
    """A CUDA driver with 3 GiB free; `fails` is a function that refuses."""

    def __init__(self, fails: str = "") -> None:
        self._fails = fails
        self.calls: list[str] = []

    def __getattr__(self, name: str):
        def call(*arguments) -> int:
            self.calls.append(name)
            if name == "cuMemGetInfo_v2":
                arguments[0]._obj.value, arguments[1]._obj.value = 3 * 2**30, 8 * 2**30
            return int(name == self._fails)

        return call


def test_on_a_card_memory_is_free_where_the_driver_says_so():
    driver = CardDriver()
    assert free_memory_mib(Device("RTX"), load=lambda name: driver) == 3072
    assert driver.calls[-2:] == ["cuCtxPopCurrent_v2", "cuDevicePrimaryCtxRelease_v2"]


@pytest.mark.parametrize(
    ("fails", "releases"),
    [("cuInit", 0), ("cuDevicePrimaryCtxRetain", 0), ("cuCtxPushCurrent_v2", 1), ("cuMemGetInfo_v2", 1)],
)
def test_a_driver_that_refuses_leaves_it_unknown(fails, releases):
    driver = CardDriver(fails)
    assert free_memory_mib(Device("RTX"), load=lambda name: driver) is None
    assert driver.calls.count("cuDevicePrimaryCtxRelease_v2") == releases


@pytest.mark.parametrize("precision", NODES)
def test_tensorrt_rtx_builds_each_precision(precision, tmp_path):
    skip_without_rtx()
    library = open_library("tensorrt_rtx")
    built = build_engine(library, write_graph(tmp_path, precision), BuildOptions(precision, workspace=256))
    assert built.precision == precision
    assert len(built.data) > 1000


def test_tensorrt_rtx_refuses_asymmetric_quantisation(tmp_path):
    skip_without_rtx()
    nodes = """f = Cast<to=1>(x) o = Constant<value = uint8 {7}>()
      q = QuantizeLinear(f, s, o) d = DequantizeLinear(q, s, o) y = MatMul(d, w)"""
    onnx.save(model_of(nodes), tmp_path / "light.onnx")
    with pytest.raises(BackendError, match=r"light\.onnx: TensorRT-RTX .* cannot take .*"):
        build_engine(open_library("tensorrt_rtx"), tmp_path / "light.onnx")
