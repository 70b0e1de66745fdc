"""What surrounds a core graph: the same arithmetic as numpy's, in front and behind."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from scipy.special import softmax

from agfedge.router.confidence import CONFIDENCES, Measure, confidence_of
from agfedge.subject.preprocess import model_input, preprocessing_for
from agfedge_export.errors import SurgeryError
from agfedge_export.heads.heads import attach_heads, expose_logits
from agfedge_runtime.bundle.layout import Preprocessing
from pruning import build

BYTES = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), np.uint8)
AS_IS = Preprocessing(False, 1.0, (0.0,), (1.0,))
CORE = ("a = Conv(x, w1)  m = GlobalAveragePool(a)  y = Flatten(m)", {"w1": (4, 3, 3, 3)})
# Hands its input on, so that what the preprocessing makes can be read.
MIRROR = ("y = Flatten(x)", {})


def run(model: onnx.ModelProto, x: np.ndarray, *names: str) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(list(names), {"image": x})


def logits_of(core: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(core.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {core.graph.input[0].name: x})[0]


def logged(probabilities: np.ndarray) -> np.ndarray:
    """Softmax undone, up to a constant a row."""
    values = np.log(probabilities.astype(np.float64))
    return values - values[:, :1]


@pytest.mark.parametrize(
    ("mean", "std"),
    [(None, None), ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)), ((0.5,), (0.25,)), ((0.5,), (0.1, 0.2, 0.4))],
)
def test_the_graphs_preprocessing_equals_numpys(mean: tuple[float, ...] | None, std: tuple[float, ...] | None) -> None:
    how = preprocessing_for(BYTES, mean, std)
    (found,) = run(attach_heads(build(*MIRROR), how, (8, 8, 3)), BYTES, "probabilities")
    planes = model_input(BYTES, how).reshape(5, -1)
    np.testing.assert_allclose(logged(found), planes.astype(np.float64) - planes[:, :1], atol=2e-5)


def test_floats_are_scaled_and_shifted_in_their_own_layout() -> None:
    x = np.random.default_rng(1).standard_normal((4, 3, 8, 8)).astype(np.float32)
    how = preprocessing_for(x, (1.0, 2.0, 3.0), (2.0,))
    (found,) = run(attach_heads(build(*MIRROR), how, (3, 8, 8)), x, "probabilities")
    expected = ((x - np.array([1, 2, 3])[:, None, None]) / 2).reshape(4, -1)
    np.testing.assert_allclose(logged(found), expected - expected[:, :1], atol=2e-5)


def test_vectors_of_features_need_no_planes() -> None:
    core = build("y = MatMul(x, w)", {"w": (6, 3)}, inputs="float[N,6] x")
    x = np.random.default_rng(1).standard_normal((4, 6)).astype(np.float32)
    how = preprocessing_for(x, (0.5,), (2.0,))
    (found,) = run(attach_heads(core, how, (6,)), x, "probabilities")
    np.testing.assert_allclose(found, softmax(logits_of(core, (x - 0.5) / 2), axis=1), atol=1e-6)


@pytest.mark.parametrize("temperature", [1.0, 0.5, 3.7])
def test_probabilities_are_the_softmax_of_cooled_logits_and_confidence_their_greatest(temperature: float) -> None:
    core = build(*CORE)
    x = np.random.default_rng(1).standard_normal((4, 3, 8, 8)).astype(np.float32)
    model = attach_heads(core, AS_IS, (3, 8, 8), temperature=temperature)
    probabilities, confidence = run(model, x, "probabilities", "confidence")
    np.testing.assert_allclose(probabilities, softmax(logits_of(core, x) / temperature, axis=1), atol=1e-6)
    np.testing.assert_array_equal(confidence, probabilities.max(axis=1))
    assert confidence.shape == (4,)


def test_the_batch_stays_symbolic() -> None:
    model = attach_heads(build(*CORE), preprocessing_for(BYTES), (8, 8, 3))
    shapes = {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    }
    assert shapes["image"] == ["batch", 8, 8, 3]
    assert shapes["probabilities"][0] == "batch"
    for count in (1, 2, 5):
        assert len(run(model, BYTES[:count], "probabilities")[0]) == count


@pytest.mark.parametrize("name", ["image", "probabilities", "confidence", "prior"])
def test_a_parameter_of_the_core_may_be_called_like_one_of_ours(name: str) -> None:
    body, weights = CORE
    core = build(body.replace("w1", name), {name: weights["w1"]})
    before = core.SerializeToString(deterministic=True)
    for _ in range(2):  # twice: the first must not rename the caller's own
        model = attach_heads(core, preprocessing_for(BYTES), (8, 8, 3))
        (probabilities,) = run(model, BYTES, "probabilities")
    expected = softmax(logits_of(core, model_input(BYTES, preprocessing_for(BYTES))), axis=1)
    np.testing.assert_allclose(probabilities, expected, atol=1e-6)
    assert core.SerializeToString(deterministic=True) == before


@pytest.mark.parametrize("name", ["image", "probabilities", "confidence"])
def test_a_feature_map_of_the_core_may_be_called_like_one_of_ours(name: str) -> None:
    body, weights = CORE
    core = build(body.replace("a = ", f"{name} = ").replace("(a)", f"({name})"), weights)
    (found,) = run(attach_heads(core, preprocessing_for(BYTES), (8, 8, 3)), BYTES, "probabilities")
    expected = softmax(logits_of(core, model_input(BYTES, preprocessing_for(BYTES))), axis=1)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_the_core_is_not_changed() -> None:
    core = build(*CORE)
    before = core.SerializeToString(deterministic=True)
    attach_heads(core, preprocessing_for(BYTES), (8, 8, 3), temperature=2.0)
    assert core.SerializeToString(deterministic=True) == before


def test_two_outputs_are_refused() -> None:
    core = build("y = Relu(x)  z = Neg(x)", {}, outputs="y, z")
    with pytest.raises(SurgeryError, match="one input and one output: got 1 and 2"):
        attach_heads(core, AS_IS, (3, 8, 8))


def test_a_core_with_constant_nodes_is_not_changed_either() -> None:
    model = build("shape = Constant<value = int64[2] {0, -1}>()  y = Reshape(x, shape)", {})
    before = model.SerializeToString(deterministic=True)
    attach_heads(model, preprocessing_for(BYTES), (8, 8, 3))
    assert model.SerializeToString(deterministic=True) == before


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("kind", CONFIDENCES)
def test_every_measure_of_confidence_equals_numpys(kind: str, temperature: float) -> None:
    core = build(*CORE)
    x = 20 * np.random.default_rng(1).standard_normal((6, 3, 8, 8)).astype(np.float32)
    energy = (0.4, 1.7)
    model = attach_heads(core, AS_IS, (3, 8, 8), temperature=temperature, confidence=kind, energy=energy)
    (found,) = run(model, x, "confidence")
    expected = confidence_of(logits_of(core, x), Measure(kind, temperature, energy))
    np.testing.assert_allclose(found, expected, atol=2e-6)
    assert found.shape == (6,)


@pytest.mark.parametrize("kind", CONFIDENCES)
def test_a_measure_stays_finite_where_logits_are_far_apart(kind: str) -> None:
    x = np.array([[900.0, -900.0, 0.0], [0.0, 0.0, 0.0]], np.float32)
    model = attach_heads(build("y = Identity(x)", {}, inputs="float[N,3] x"), AS_IS, (3,), confidence=kind)
    (found,) = run(model, x, "confidence")
    assert ((found >= -1e-6) & (found <= 1 + 1e-6)).all()
    assert found[0] > found[1]


def test_an_unknown_measure_is_refused() -> None:
    with pytest.raises(SurgeryError, match="confidence 'luck' is none of max_probability, margin"):
        attach_heads(build(*CORE), AS_IS, (3, 8, 8), confidence="luck")


def test_an_expert_that_nobody_doubts_has_no_confidence() -> None:
    model = attach_heads(build(*CORE), AS_IS, (3, 8, 8), confidence=None)
    assert [value.name for value in model.graph.output] == ["probabilities"]


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_logits_are_given_where_asked_for_and_not_cooled(temperature: float) -> None:
    core = build(*CORE)
    x = np.random.default_rng(1).standard_normal((4, 3, 8, 8)).astype(np.float32)
    expert = attach_heads(core, AS_IS, (3, 8, 8), temperature=temperature)
    before = expert.SerializeToString(deterministic=True)
    model, name = expose_logits(expert)
    (found,) = run(model, x, name)
    np.testing.assert_allclose(found, logits_of(core, x), atol=1e-6)
    assert expert.SerializeToString(deterministic=True) == before
