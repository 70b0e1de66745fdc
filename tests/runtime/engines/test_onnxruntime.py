"""Engines of ONNX Runtime: what they answer, and what they refuse."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper

from agfedge_runtime.engines import OnnxRuntimeEngine
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
    engine = OnnxRuntimeEngine(tiny.bundle().file("light.onnx"))
    assert (engine.input_names, engine.output_names) == (("x",), ("probabilities", "confidence", "prior"))


def test_a_graph_with_branches_runs(tmp_path):
    path = tmp_path / "branching.onnx"
    path.write_bytes(parsed(BRANCHING))
    engine = OnnxRuntimeEngine(path)
    x = np.ones((1, 2), np.float32)
    for flag, factor in ((True, 2), (False, 3)):
        (chosen,) = engine.run({"x": x, "flag": np.array(flag)}, ["chosen"])
        np.testing.assert_array_equal(chosen, factor * x)


def test_outputs_come_in_the_order_asked_for(tiny):
    engine = OnnxRuntimeEngine(tiny.bundle().file("light.onnx"))
    x = tiny.rows((51, 0, 0, 0))
    probabilities, confidence = engine.run({"x": x}, ("probabilities", "confidence"))
    assert (probabilities.shape, confidence.item()) == ((1, 2), pytest.approx(0.8))
    confidence, probabilities = engine.run({"x": x}, ("confidence", "probabilities"))
    assert (probabilities.shape, confidence.item()) == ((1, 2), pytest.approx(0.8))


def test_a_row_that_a_graph_cannot_compute_is_told(tiny):
    engine = OnnxRuntimeEngine(tiny.bundle(light=tiny.light("trap")).file("light.onnx"))
    assert engine.run({"x": tiny.rows((0, 0, 51, 0))}, ("confidence",))[0] == pytest.approx([1.0])
    with pytest.raises(BackendError, match=r"light\.onnx: ONNX Runtime: .*Gather"):
        engine.run({"x": tiny.rows((0, 0, 51, 255))}, ("probabilities",))


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
    with pytest.raises(BackendError, match=r"heavy\.onnx: ONNX Runtime: .*confidence"):
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
        OnnxRuntimeEngine(path)


@st.composite
def damaged_models(draw: st.DrawFn) -> bytes:
    """Noise, or a model that was cut or has noise inside."""
    model, noise = parsed(BRANCHING), draw(st.binary(max_size=40))
    cut = draw(st.integers(0, len(model)))
    return draw(st.sampled_from([noise, model[:cut], model[:cut] + noise + model[cut:]]))


@settings(max_examples=100, deadline=None)
@given(damaged_models())
def test_any_bytes_are_loaded_or_refused_with_a_backend_error(model):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "damaged.onnx")
        path.write_bytes(model)
        with contextlib.suppress(BackendError):
            OnnxRuntimeEngine(path)
