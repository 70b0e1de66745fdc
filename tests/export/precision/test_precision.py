"""Precision in the types: what becomes float16 or int8, what stays, and that the answers do."""

from __future__ import annotations

import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import onnxruntime
import pytest
from onnx.reference import ReferenceEvaluator

from agfedge_export.errors import ModelError
from agfedge_export.graph.shape_values import infer
from agfedge_export.heads.heads import attach_heads
from agfedge_export.precision.half import LARGEST
from agfedge_export.precision.precision import Converted, to_fp16, to_int8
from agfedge_export.precision.regions import FLOAT, HALF
from agfedge_runtime.bundle.layout import Preprocessing
from nets import Residual, exported, learned, samples, stripes
from tensorrt_build import builds

TIMEOUT_S = 120
RNG = np.random.default_rng(0)


def graph(
    body: str, weights: str = "", inputs: str = "float[N,2,4,4] x", outputs: str = "float[N,C] y", opset: int = 17
):
    text = f'<ir_version: 8, opset_import: ["": {opset}]> g ({inputs}) => ({outputs}) {weights} {{ {body} }}'
    return with_weights(onnx.parser.parse_model(text))


def with_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Fills in the kernels that the texts name: `k` 3x2x3x3, `v` 3x3x3x3, `m` 3x4."""
    shapes = {"k": (3, 2, 3, 3), "v": (3, 3, 3, 3), "m": (3, 4)}
    read = {name for node in model.graph.node for name in node.input}
    for name in sorted(read & shapes.keys()):
        value = np.random.default_rng(1).standard_normal(shapes[name]).astype(np.float32) / 4
        model.graph.initializer.append(onnx.numpy_helper.from_array(value, name))
    return model


def run(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))


def truly_half(made: Converted, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Runs a graph by numpy in the types that it says; ONNX Runtime on a CPU keeps float32 between nodes."""
    names = [value.name for value in made.model.graph.output]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # overflows are what is looked for
        return dict(zip(names, ReferenceEvaluator(made.model).run(names, feeds), strict=True))


def types(model: onnx.ModelProto) -> dict[str, int]:
    """The element type of every tensor."""
    inferred = infer(model)
    values = [*inferred.input, *inferred.output, *inferred.value_info]
    return {value.name: value.type.tensor_type.elem_type for value in values} | {
        tensor.name: tensor.data_type for tensor in model.graph.initializer
    }


def computes_in(made: Converted, op: str) -> set[int]:
    """The types that nodes of an operator answer."""
    known = types(made.model)
    return {known[node.output[0]] for node in made.model.graph.node if node.op_type == op}


def x(*shape: int) -> np.ndarray:
    return np.random.default_rng(2).standard_normal(shape or (5, 2, 4, 4)).astype(np.float32)


CONV = "a = Conv<pads=[1,1,1,1]>(x, k) b = Relu(a) c = GlobalAveragePool(b) d = Flatten(c) y = MatMul(d, m)"


def test_layers_compute_in_float16_and_the_graph_keeps_its_face() -> None:
    model = graph(CONV)
    made = to_fp16(model)
    assert computes_in(made, "Conv") == computes_in(made, "Relu") == computes_in(made, "MatMul") == {HALF}
    assert [value.type.tensor_type.elem_type for value in (*made.model.graph.input, *made.model.graph.output)] == [
        FLOAT,
        FLOAT,
    ]
    assert Counter(node.op_type for node in made.model.graph.node)["Cast"] == 2
    assert {tensor.name: tensor.data_type for tensor in made.model.graph.initializer} == {"k": HALF, "m": HALF}
    ours, theirs = run(made.model, {"x": x()})["y"], run(model, {"x": x()})["y"]
    np.testing.assert_allclose(ours, theirs, atol=2e-3 * np.abs(theirs).max())


def test_the_model_passed_in_is_unchanged() -> None:
    model = graph(CONV)
    before = model.SerializeToString(deterministic=True)
    to_fp16(model)
    to_int8(model, {"x": x()})
    assert model.SerializeToString(deterministic=True) == before


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_the_same_graph_and_inputs_give_the_same_bytes(precision: str) -> None:
    def made() -> bytes:
        model = graph(CONV)
        converted = to_fp16(model) if precision == "fp16" else to_int8(model, {"x": x()})
        return converted.model.SerializeToString(deterministic=True)

    assert made() == made()


def test_a_batch_norm_is_folded_in_double_precision() -> None:
    """A variance of 1e-9 is 0 in float16; the quotient that counts is not."""
    norm = "b = BatchNormalization<epsilon=0.0>(a, s, o, mu, var)"
    body = f"a = Conv<pads=[1,1,1,1]>(x, k) {norm} c = GlobalAveragePool(b) y = Flatten(c)"
    weights = (
        "<float[3] s = {1e-5, 1, 1}, float[3] o = {0, 1, 2}, float[3] mu = {0, 0.5, 0}, float[3] var = {1e-9, 1, 2}>"
    )
    model = graph(body, weights)
    made = to_fp16(model)
    assert "BatchNormalization" not in {node.op_type for node in made.model.graph.node}
    ours, theirs = run(made.model, {"x": x()})["y"], run(model, {"x": x()})["y"]
    np.testing.assert_allclose(ours, theirs, atol=2e-3)


def test_a_batch_norm_that_no_convolution_precedes_becomes_a_product_and_a_sum() -> None:
    body = (
        "r = Conv<pads=[1,1,1,1]>(x, k) a = Relu(r) b = BatchNormalization(a, s, o, o, s) c = Add(a, b) "
        "d = GlobalAveragePool(c) y = Flatten(d)"
    )
    model = graph(body, "<float[3] s = {1, 2, 3}, float[3] o = {0, 1, 2}>")
    made = to_fp16(model)
    assert computes_in(made, "Mul") == {HALF}
    np.testing.assert_allclose(run(made.model, {"x": x()})["y"], run(model, {"x": x()})["y"], atol=5e-3)


def test_weights_that_float16_cannot_hold_are_clamped_and_reported() -> None:
    model = graph(CONV)
    weight = next(each for each in model.graph.initializer if each.name == "m")
    value = onnx.numpy_helper.to_array(weight).copy()
    value[0, :2] = (1e6, -1e6)
    weight.CopyFrom(onnx.numpy_helper.from_array(value, "m"))
    (clamped,) = to_fp16(model).clamped
    assert (clamped.name, clamped.beyond, clamped.largest) == ("m", 2, 1e6)
    kept = next(each for each in to_fp16(model).model.graph.initializer if each.name == "m")
    assert onnx.numpy_helper.to_array(kept)[0, :2].tolist() == [LARGEST, -LARGEST]


@pytest.mark.parametrize("number", ["1e-9", "3e38"])
def test_a_number_that_float16_cannot_hold_keeps_its_node(number: str) -> None:
    made = to_fp16(graph(CONV.replace("b = Relu(a)", "b = Add(a, e)"), f"<float e = {{{number}}}>"))
    assert computes_in(made, "Add") == {FLOAT}
    assert made.clamped == ()


def test_values_that_float16_cannot_hold_keep_their_nodes_where_inputs_show_them() -> None:
    """Two large weights are each within range, what passes between them is not."""
    body = CONV.replace("b = Relu(a)", "l = Mul(a, big) b = Mul(l, small)")
    model = graph(body, "<float[1] big = {60000.0}, float[1] small = {0.0001}>")
    feeds = {"x": 100 * x()}
    made = to_fp16(model, feeds)
    assert computes_in(made, "Mul") == {FLOAT}
    assert computes_in(made, "MatMul") == {HALF}
    assert len(made.overflowing) == 2
    ours, theirs = run(made.model, feeds)["y"], run(model, feeds)["y"]
    np.testing.assert_allclose(ours, theirs, atol=5e-3 * np.abs(theirs).max())
    np.testing.assert_allclose(truly_half(made, feeds)["y"], theirs, atol=5e-3 * np.abs(theirs).max())
    assert not np.isfinite(truly_half(to_fp16(model), feeds)["y"]).all(), "or the test shows nothing"


def test_softmax_and_what_scales_it_stay_float32() -> None:
    made = to_fp16(graph(CONV.replace("y =", "z =") + " t = Div(z, s) y = Softmax<axis=1>(t)", "<float s = {2.0}>"))
    assert computes_in(made, "Softmax") == computes_in(made, "Div") == {FLOAT}
    assert computes_in(made, "MatMul") == {HALF}


def test_a_norm_that_is_written_out_keeps_its_statistics() -> None:
    body = (
        "a = Conv<pads=[1,1,1,1]>(x, k) mean = ReduceMean<axes=[1]>(a) b = Sub(a, mean) c = Mul(b, b) "
        "d = ReduceMean<axes=[1]>(c) f = Add(d, e) g = Sqrt(f) h = Div(b, g) i = Conv(h, v) "
        "j = GlobalAveragePool(i) y = Flatten(j)"
    )
    made = to_fp16(graph(body, "<float e = {1e-5}>"))
    for op in ("ReduceMean", "Sub", "Add", "Sqrt", "Div"):
        assert computes_in(made, op) == {FLOAT}, op
    assert computes_in(made, "Conv") == {HALF}


@pytest.mark.parametrize("op", ["LayerNormalization<axis=-1>(a, g)", "InstanceNormalization(a, h, h)"])
def test_norms_stay_float32(op: str) -> None:
    body = f"a = Conv<pads=[1,1,1,1]>(x, k) b = {op} c = Conv(b, v) d = GlobalAveragePool(c) y = Flatten(d)"
    made = to_fp16(graph(body, "<float[4] g = {1, 2, 3, 4}, float[3] h = {1, 2, 3}>"))
    assert computes_in(made, op.partition("<")[0].partition("(")[0]) == {FLOAT}
    assert computes_in(made, "Conv") == {HALF}


def test_a_branch_of_the_graph_reads_what_it_read() -> None:
    """The branches of If read tensors of the graph around them by name."""
    then = "then_branch = t () => (float[N,3,4,4] u) { u = Abs(a) }"
    other = "else_branch = e () => (float[N,3,4,4] w) { w = Neg(a) }"
    body = (
        f"a = Conv<pads=[1,1,1,1]>(x, k) q = Greater(s, z) b = If(q) <{then}, {other}> c = Conv(b, v) "
        "d = GlobalAveragePool(c) y = Flatten(d)"
    )
    model = graph(body, "<float s = {2.0}, float z = {1.0}>")
    made = to_fp16(model)
    np.testing.assert_allclose(run(made.model, {"x": x()})["y"], run(model, {"x": x()})["y"], atol=1e-2)


def test_sizes_that_are_computed_as_floats_are_not_rounded() -> None:
    """4097 is no float16."""
    body = (
        "a = Conv<pads=[1,1,1,1]>(x, k) s = Size(a) f = Cast<to=1>(s) h = Div(f, two) i = Cast<to=7>(h) "
        "j = Cast<to=1>(i) b = Mul(f, zero) c = Add(a, b) d = GlobalAveragePool(c) e = Flatten(d) y = Add(e, j)"
    )
    model = graph(body, "<float two = {2.0}, float zero = {0.0}>")
    feeds = {"x": x(171, 2, 4, 4)}
    ours, theirs = run(to_fp16(model).model, feeds)["y"], run(model, feeds)["y"]
    assert np.round(theirs.mean()) == np.round(ours.mean())


def expert(image: bool = True) -> onnx.ModelProto:
    core = exported(learned(Residual), samples(2)[0]).model
    how = Preprocessing(image, 1 / 255 if image else 1.0, (0.5,), (0.25,))
    shape = (6, 6, 1) if image else (1, 6, 6)
    return attach_heads(core, how, shape, temperature=1.5)


def pictures(count: int = 64) -> np.ndarray:
    planes = stripes(count)[0].transpose(0, 2, 3, 1)
    return np.clip(planes * 64 + 128, 0, 255).astype(np.uint8)


def test_preprocessing_and_heads_of_an_expert_stay_float32() -> None:
    made = to_fp16(expert())
    known = types(made.model)
    for node in made.model.graph.node:
        if node.name.startswith(("image__", "confidence__", "probabilities__", "logits__")):
            assert all(known[name] != HALF for name in node.output), node.name
    assert computes_in(made, "Conv") == computes_in(made, "Gemm") == {HALF}


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_an_expert_answers_alike(precision: str) -> None:
    model, feeds = expert(), {"image": pictures()}
    made = to_fp16(model) if precision == "fp16" else to_int8(model, feeds)
    ours, theirs = run(made.model, feeds), run(model, feeds)
    assert ours["probabilities"].dtype == np.float32
    tolerance = {"fp16": 0.01, "int8": 0.15}[precision]
    np.testing.assert_allclose(ours["probabilities"], theirs["probabilities"], atol=tolerance)
    np.testing.assert_allclose(ours["confidence"], ours["probabilities"].max(axis=1), atol=1e-6)


def test_float16_that_is_float16_throughout_answers_alike() -> None:
    model, feeds = expert(), {"image": pictures(16)}
    ours, theirs = truly_half(to_fp16(model), feeds), run(model, feeds)
    np.testing.assert_allclose(ours["probabilities"], theirs["probabilities"], atol=0.01)
    np.testing.assert_allclose(ours["confidence"], ours["probabilities"].max(axis=1), atol=1e-6)


def test_int8_is_symmetric_with_a_scale_a_channel() -> None:
    made = to_int8(graph(CONV), {"x": x()})
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in made.model.graph.initializer}
    pairs = [node for node in made.model.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert pairs
    for node in pairs:
        assert constants[node.input[2]].dtype == np.int8
        assert not constants[node.input[2]].any()
    weights = [node for node in pairs if node.input[0] in constants]
    assert [constants[node.input[1]].shape for node in weights] == [(3,)]


def test_int8_keeps_the_last_layer_and_quantizes_residual_sums() -> None:
    made = to_int8(expert(), {"image": pictures()})
    assert not any("linear" in name or "gemm" in name.lower() for name in made.lower)
    quantized = {node.output[0] for node in made.model.graph.node if node.op_type == "DequantizeLinear"}
    sums = [node for node in made.model.graph.node if node.op_type == "Add" and set(node.input) <= quantized]
    assert len(sums) == 1
    (last,) = (node for node in made.model.graph.node if node.op_type == "Gemm")
    assert not quantized & set(last.input)


def attention() -> onnx.ModelProto:
    """Queries, keys and values of three tokens; the scale is computed, as exporters of torch write it."""
    body = (
        "q0 = MatMul(x, w) k0 = MatMul(x, u) v0 = MatMul(x, z) r = Sqrt(s) q = Mul(q0, r) k1 = Mul(k0, r) "
        "kt = Transpose<perm=[0,2,1]>(k1) a = MatMul(q, kt) p = Softmax<axis=-1>(a) o = MatMul(p, v0) "
        "f = Flatten(o) y = MatMul(f, h)"
    )
    model = graph(body, "<float s = {0.5}>", "float[N,3,4] x")
    for name, rows in (("w", 4), ("u", 4), ("z", 4), ("h", 12)):
        value = np.random.default_rng(len(model.graph.initializer)).standard_normal((rows, 4)).astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(value, name))
    return model


def test_attention_computes_in_float16_but_for_its_softmax() -> None:
    made = to_fp16(attention())
    assert computes_in(made, "MatMul") == computes_in(made, "Mul") == {HALF}
    assert computes_in(made, "Softmax") == {FLOAT}


def test_int8_leaves_products_of_activations_float() -> None:
    made = to_int8(attention(), {"x": x(8, 3, 4)})
    assert len(made.lower) == 3
    quantized = {node.output[0] for node in made.model.graph.node if node.op_type == "DequantizeLinear"}
    products = [node for node in made.model.graph.node if node.op_type == "MatMul"]
    assert sorted(len(quantized.intersection(node.input)) for node in products) == [0, 0, 0, 2, 2, 2]


@pytest.mark.parametrize(
    ("model", "inputs", "message"),
    [
        (graph(CONV, opset=12), {"x": x()}, "int8 needs opset 13 or newer, the graph has 12"),
        (graph(CONV), {}, "calibrated on real inputs: got none for x"),
        (graph(CONV), {"x": x(0, 2, 4, 4)}, "calibrated on real inputs: got none for x"),
        (graph(CONV), {"x": x(5, 7, 4, 4)}, "ONNX Runtime cannot quantize the graph"),
    ],
)
def test_what_cannot_be_quantized_is_told_in_one_line(model, inputs, message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        to_int8(model, inputs)
    assert len(str(caught.value).splitlines()) == 1


def test_a_graph_without_layers_stays_as_it_is() -> None:
    model = graph("a = Relu(x) y = Flatten(a)")
    for made in (to_fp16(model), to_int8(model, {"x": x()})):
        assert made.lower == ()
        np.testing.assert_array_equal(run(made.model, {"x": x()})["y"], run(model, {"x": x()})["y"])


@pytest.fixture(scope="module")
def builder() -> None:
    pytest.importorskip(
        "tensorrt_rtx", reason="pip install tensorrt-rtx-cu13, for Linux on x86-64", exc_type=ImportError
    )


@pytest.mark.usefixtures("builder")
@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_tensorrt_builds_an_expert(precision: str, tmp_path: Path) -> None:
    model, feeds = expert(), {"image": pictures()}
    made = to_fp16(model) if precision == "fp16" else to_int8(model, feeds)
    path = tmp_path / "expert.onnx"
    onnx.save(made.model, path)
    assert builds(path, TIMEOUT_S) == "yes"
