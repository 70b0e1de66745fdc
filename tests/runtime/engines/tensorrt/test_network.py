"""What a graph says of itself, and how it becomes a network."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import pytest

from agfedge_runtime.engines.tensorrt.build.graph import read_graph
from agfedge_runtime.engines.tensorrt.build.library import open_library
from agfedge_runtime.engines.tensorrt.build.network import add_batch_profile, parse_network
from agfedge_runtime.errors import BackendError
from fake_tensorrt import VERSIONS
from tensorrt_graphs import NODES, fake_library, model_of, skip_without_rtx, write_graph

BATCH = (1, 2, 8)


@pytest.mark.parametrize("precision", NODES)
def test_the_types_of_a_graph_say_its_precision(precision, tmp_path):
    assert read_graph(write_graph(tmp_path, precision)).precision == precision


def test_a_half_precision_weight_makes_a_graph_fp16(tmp_path):
    model = model_of("h = Cast<to=1>(x) y = MatMul(h, w)")
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.ones(2, np.float16), "unread"))
    onnx.save(model, tmp_path / "g.onnx")
    assert read_graph(tmp_path / "g.onnx").precision == "fp16"


def test_a_branch_counts(tmp_path):
    branch = "then_branch = t () => (float[N,4] o) { h = Cast<to=10>(x) o = Cast<to=1>(h) }"
    other = "else_branch = e () => (float[N,4] o) { o = Cast<to=1>(x) }"
    onnx.save(model_of(f"c = Constant<value = bool {{1}}>() y = If (c) <{branch}, {other}>"), tmp_path / "g.onnx")
    assert read_graph(tmp_path / "g.onnx").precision == "fp16"


def test_the_nodes_are_named_in_the_order_of_the_file(tmp_path):
    assert read_graph(write_graph(tmp_path)).nodes == (("", "Cast"), ("product", "MatMul"), ("last", "Softmax"))


def test_weights_beside_the_file_are_in_its_digest(tmp_path):
    model = model_of(NODES["fp32"])
    model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(np.ones((4, 4), np.float32), "w"))
    onnx.save(model, tmp_path / "g.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)
    before = read_graph(tmp_path / "g.onnx").sha256
    weights = bytearray((tmp_path / "weights.bin").read_bytes())
    weights[0] ^= 1
    (tmp_path / "weights.bin").write_bytes(weights)
    assert read_graph(tmp_path / "g.onnx").sha256 != before
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(BackendError, match=r"weights\.bin: cannot be read"):
        read_graph(tmp_path / "g.onnx")


def test_weights_outside_of_the_folder_are_refused(tmp_path):
    model = model_of(NODES["fp32"])
    weight = model.graph.initializer[0]
    weight.data_location = onnx.TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="../elsewhere.bin")
    (tmp_path / "g.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(BackendError, match="outside of its folder"):
        read_graph(tmp_path / "g.onnx")


@pytest.mark.parametrize("content", [b"", b"junk", b"\x3a\xff"])
def test_what_is_no_model_is_told(content, tmp_path):
    (tmp_path / "g.onnx").write_bytes(content)
    with pytest.raises(BackendError, match=r"g\.onnx: no ONNX model"):
        read_graph(tmp_path / "g.onnx")


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(BackendError, match=r"g\.onnx: cannot be read"):
        read_graph(tmp_path / "g.onnx")


@pytest.mark.parametrize(
    ("version", "by_types", "flags"),
    [
        ("8.5.2", False, 1),
        ("8.6.1", False, 1),
        ("10.3.0", False, 0),
        ("10.3.0", True, 2),
        ("10.13.3", False, 0),
        ("10.16", True, 2),
        ("11.1", True, 0),
    ],
)
def test_a_network_is_made_with_the_flags_of_its_version(version, by_types, flags, tmp_path, monkeypatch):
    fake, library = fake_library(version, monkeypatch)
    parse_network(library, read_graph(write_graph(tmp_path)), by_types)
    assert fake.called("Builder.create_network") == [(flags,)]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_refused_node_is_named_with_the_reason(version, tmp_path, monkeypatch):
    fake, library = fake_library(version, monkeypatch)
    fake.refused_operators.add("Softmax")
    with pytest.raises(
        BackendError, match=r"light\.onnx: TensorRT .* cannot take node 2 'last' \(Softmax\): .*No importer"
    ):
        parse_network(library, read_graph(write_graph(tmp_path)), by_types=version == "11.1")


def test_a_library_that_cannot_start_says_why(tmp_path, monkeypatch):
    fake, library = fake_library("10.3.0", monkeypatch)

    def no_builder(logger: object) -> None:
        fake.log(logger, "ERROR", "CUDA initialization failure with error: 35")
        raise TypeError("pybind11::init(): factory function returned nullptr")

    monkeypatch.setattr(fake.module, "Builder", no_builder)
    with pytest.raises(BackendError, match=r"cannot make a builder here: CUDA initialization failure .* check"):
        parse_network(library, read_graph(write_graph(tmp_path)), by_types=False)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_batch_varies_within_its_range(version, tmp_path, monkeypatch):
    fake, library = fake_library(version, monkeypatch)
    graph = read_graph(write_graph(tmp_path))
    network = parse_network(library, graph, by_types=version == "11.1")
    add_batch_profile(library, network, network.builder.create_builder_config(), graph, BATCH)
    assert fake.called("IOptimizationProfile.set_shape") == [("x", (1, 4), (2, 4), (8, 4))]
    assert len(fake.called("IBuilderConfig.add_optimization_profile")) == 1


def test_a_graph_of_fixed_sizes_needs_no_profile(tmp_path, monkeypatch):
    fake, library = fake_library("10.3.0", monkeypatch)
    onnx.save(model_of(NODES["fp32"], inputs="uint8[2,4] x", outputs="float[2,4] y"), tmp_path / "g.onnx")
    graph = read_graph(tmp_path / "g.onnx")
    network = parse_network(library, graph, by_types=False)
    add_batch_profile(library, network, network.builder.create_builder_config(), graph, BATCH)
    assert fake.called("IBuilderConfig.add_optimization_profile") == []


@pytest.mark.parametrize("shape", ["N,M", "4,M"])
def test_nothing_but_the_batch_may_vary(shape, tmp_path, monkeypatch):
    _, library = fake_library("10.3.0", monkeypatch)
    onnx.save(
        model_of("y = Cast<to=1>(x)", inputs=f"uint8[{shape}] x", outputs=f"float[{shape}] y"), tmp_path / "g.onnx"
    )
    graph = read_graph(tmp_path / "g.onnx")
    network = parse_network(library, graph, by_types=False)
    with pytest.raises(BackendError, match=r"got the input x with the shape .*whose batch alone"):
        add_batch_profile(library, network, network.builder.create_builder_config(), graph, BATCH)


def test_a_refused_range_is_told(tmp_path, monkeypatch):
    fake, library = fake_library("10.3.0", monkeypatch)
    graph = read_graph(write_graph(tmp_path))
    network = parse_network(library, graph, by_types=False)

    def refuse(self: object, profile: object) -> int:
        fake.log(library.logger, "ERROR", "Invalid optimization profiles")
        return -1

    monkeypatch.setattr(fake.module.IBuilderConfig, "add_optimization_profile", refuse)
    with pytest.raises(BackendError, match="refuses the batch sizes 1,2,8: Invalid optimization profiles"):
        add_batch_profile(library, network, network.builder.create_builder_config(), graph, BATCH)


def test_tensorrt_rtx_names_the_node_that_it_refuses(tmp_path):
    skip_without_rtx()
    nodes = 'a = Relu(w) [shifted] b = BitShift<direction="LEFT">(x, x) c = Cast<to=1>(b) y = MatMul(c, a)'
    onnx.save(model_of(nodes), tmp_path / "bad.onnx")
    library = open_library("tensorrt_rtx")
    with pytest.raises(
        BackendError, match=r"bad\.onnx: TensorRT-RTX .* cannot take node 1 'shifted' \(BitShift\): unsupported"
    ):
        parse_network(library, read_graph(tmp_path / "bad.onnx"), by_types=True)
