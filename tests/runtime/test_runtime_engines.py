"""Engines compute what is asked for and nothing else; the cut model is a valid ONNX model."""

from __future__ import annotations

import contextlib

import numpy as np
import onnx
import onnx.parser
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper

from agfedge_runtime.engines import OnnxRuntimeEngine
from agfedge_runtime.engines.onnx_outputs import graph_names, keep_outputs
from agfedge_runtime.errors import BackendError

BRANCHING = """
<ir_version: 10, opset_import: ["": 20]>
g (float[N,2] x, bool flag) => (float[N,2] chosen, float[N,2] other)
<float two = {2.0}, float three = {3.0}, float[1] stray = {0.0}>
{
  doubled = Mul(x, two)
  chosen = If (flag) <
    then_branch = yes () => (float[N,2] kept) { kept = Identity(doubled) },
    else_branch = no () => (float[N,2] tripled) { tripled = Mul(x, three) }
  >
  other = Add(x, stray)
}
"""


def parsed(text: str) -> bytes:
    return onnx.parser.parse_model(text).SerializeToString()


def test_names_are_read_without_constants(tiny):
    assert graph_names(tiny.light()) == (("x",), ("probabilities", "confidence", "prior"))


@pytest.mark.parametrize("outputs", [("prior",), ("confidence",), ("probabilities", "confidence")])
def test_a_cut_model_is_valid_and_has_only_its_outputs(tiny, outputs):
    model = onnx.load_from_string(keep_outputs(tiny.light(), outputs))
    onnx.checker.check_model(model, full_check=True)
    assert tuple(output.name for output in model.graph.output) == outputs


def test_a_cut_model_holds_only_the_constants_that_it_needs(tiny):
    model = onnx.load_from_string(keep_outputs(tiny.light("nan"), ["prior"]))
    assert sorted(each.name for each in model.graph.initializer) == ["full", "last", "third"]
    assert [node.op_type for node in model.graph.node] == ["Flatten", "Cast", "Div", "MatMul", "Squeeze"]


def test_everything_kept_is_the_same_model():
    model = parsed(BRANCHING)
    assert keep_outputs(model, ["chosen", "other"]) == model


def test_what_a_branch_reads_from_outside_is_kept(tmp_path):
    path = tmp_path / "branching.onnx"
    path.write_bytes(parsed(BRANCHING))
    engine = OnnxRuntimeEngine(path)
    x = np.ones((1, 2), np.float32)
    for flag, factor in ((True, 2), (False, 3)):
        (chosen,) = engine.run({"x": x, "flag": np.array(flag)}, ["chosen"])
        np.testing.assert_array_equal(chosen, factor * x)
    model = onnx.load_from_string(keep_outputs(path.read_bytes(), ["chosen"]))
    assert sorted(each.name for each in model.graph.initializer) == ["three", "two"]


def test_outputs_come_in_the_order_asked_for(tiny):
    engine = OnnxRuntimeEngine(tiny.bundle().file("light.onnx"))
    x = tiny.rows((255, 0, 51, 0))
    prior, confidence = engine.run({"x": x}, ("prior", "confidence"))
    assert (prior.item(), confidence.item()) == (pytest.approx(0.2), 1.0)
    confidence, prior = engine.run({"x": x}, ("confidence", "prior"))
    assert (prior.item(), confidence.item()) == (pytest.approx(0.2), 1.0)


def test_an_output_that_is_not_asked_for_is_not_computed(tiny):
    engine = OnnxRuntimeEngine(tiny.bundle(light=tiny.light("trap")).file("light.onnx"))
    x = {"x": tiny.rows((0, 0, 51, 255))}
    assert engine.run(x, ("prior",))[0] == pytest.approx([0.2])
    with pytest.raises(BackendError, match=r"light\.onnx: ONNX Runtime: .*Gather"):
        engine.run(x, ("probabilities",))


def test_weights_in_a_file_beside_the_model_are_found(tmp_path):
    model = onnx.load_from_string(
        parsed(
            '<ir_version: 10, opset_import: ["": 20]> g (float[N,64] x) => (float[N,64] y, float[N,64] z)'
            "{ y = MatMul(x, w) z = Neg(x) }"
        )
    )
    model.graph.initializer.append(numpy_helper.from_array(2 * np.eye(64, dtype=np.float32), "w"))
    path = tmp_path / "model.onnx"
    onnx.save_model(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    x = np.ones((1, 64), np.float32)
    np.testing.assert_array_equal(OnnxRuntimeEngine(path).run({"x": x}, ("y",))[0], 2 * x)


def test_an_unknown_output_is_refused(tiny):
    engine = OnnxRuntimeEngine(tiny.bundle().file("heavy.onnx"))
    with pytest.raises(BackendError, match="no output confidence"):
        engine.run({"x": tiny.mixed()}, ("confidence",))


def test_a_refusal_of_onnx_runtime_is_one_line(tiny):
    engine = OnnxRuntimeEngine(tiny.bundle().file("heavy.onnx"))
    with pytest.raises(BackendError, match=r"^heavy\.onnx: ONNX Runtime: .+$") as caught:
        engine.run({"x": np.zeros((1, 3, 3, 1), np.uint8)}, ("probabilities",))
    assert len(str(caught.value).splitlines()) == 1


def test_an_operator_that_onnx_runtime_lacks_is_told_when_loading(tmp_path):
    path = tmp_path / "odd.onnx"
    header = '<ir_version: 10, opset_import: ["": 20, "nowhere": 1]>'
    path.write_bytes(parsed(header + "g (float[N] x) => (float[N] y) { y = nowhere.Odd(x) }"))
    with pytest.raises(BackendError, match=r"odd\.onnx: ONNX Runtime cannot load it"):
        OnnxRuntimeEngine(path).run({"x": np.zeros(1, np.float32)}, ("y",))


@st.composite
def damaged_models(draw: st.DrawFn) -> bytes:
    """Noise, or a model that was cut or has noise inside."""
    model, noise = parsed(BRANCHING), draw(st.binary(max_size=40))
    cut = draw(st.integers(0, len(model)))
    return draw(st.sampled_from([noise, model[:cut], model[:cut] + noise + model[cut:]]))


@settings(max_examples=300, deadline=None)
@given(damaged_models())
def test_any_bytes_are_read_or_refused_with_a_value_error(model):
    with contextlib.suppress(ValueError):
        keep_outputs(model, graph_names(model)[1])
