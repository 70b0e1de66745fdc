"""Priors as nodes of a graph equal their formulas in numpy."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from scipy.special import expit

from agfedge.subject.preprocess import preprocessing_for
from agfedge_export.errors import SurgeryError
from agfedge_export.heads.priors import Probe, append_features, prior_graph, prior_kinds
from pruning import build

BYTES = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), np.uint8)
FLOATS = np.random.default_rng(0).standard_normal((6, 3, 8, 8)).astype(np.float32)
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)


def l1(planes: np.ndarray) -> np.ndarray:
    return np.abs(planes).reshape(len(planes), -1).mean(axis=1)


def gradient(planes: np.ndarray) -> np.ndarray:
    down, across = np.diff(planes, axis=2), np.diff(planes, axis=3)
    return l1(down) + l1(across)


FORMULAS = {
    "input_l1": l1,
    "input_gradient": gradient,
    "negated_input_l1": lambda planes: -l1(planes),
    "negated_input_gradient": lambda planes: -gradient(planes),
}


def graph_prior(kind: str, x: np.ndarray, mean: tuple[float, ...] | None = None) -> np.ndarray:
    model = prior_graph({"prior": kind}, preprocessing_for(x, mean, STD if mean else None), x.shape[1:])
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(["prior"], {"image": x})[0]


@pytest.mark.parametrize("kind", FORMULAS)
def test_a_prior_of_camera_bytes_is_taken_before_mean_and_std(kind: str) -> None:
    expected = FORMULAS[kind](BYTES.transpose(0, 3, 1, 2).astype(np.float64))
    for mean in (None, MEAN):
        np.testing.assert_allclose(graph_prior(kind, BYTES, mean), expected, rtol=1e-5)


@pytest.mark.parametrize("kind", FORMULAS)
def test_a_prior_of_floats_likewise(kind: str) -> None:
    expected = FORMULAS[kind](FLOATS.astype(np.float64))
    for mean in (None, MEAN):
        np.testing.assert_allclose(graph_prior(kind, FLOATS, mean), expected, rtol=1e-5)


def test_images_have_gradients_and_inputs_without_neighbours_do_not() -> None:
    assert set(prior_kinds((3, 8, 8))) == set(FORMULAS)
    for shape in ((5,), (3, 1, 8), (3, 8, 1), (16, 20)):
        assert set(prior_kinds(shape)) == {"input_l1", "negated_input_l1"}


@pytest.mark.parametrize("kind", ["input_l1", "negated_input_l1"])
def test_vectors_have_an_energy(kind: str) -> None:
    x = np.random.default_rng(0).standard_normal((6, 5)).astype(np.float32)
    np.testing.assert_allclose(graph_prior(kind, x), FORMULAS[kind](x), rtol=1e-5)


TRUNK = ("a = Conv(x, w1)  y = Relu(a)", {"w1": (4, 3, 3, 3)})
PROBE = Probe((0.5, -1.0, 2.0, 0.25, 3.0, -2.0, 1.0, 0.5), 0.3)


def outputs(model: onnx.ModelProto, *names: str) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(list(names), {"x": FLOATS})


def with_features(features: list[str]) -> onnx.ModelProto:
    return append_features(build(*TRUNK), features, "energy", "pooled")


def maps() -> dict[str, np.ndarray]:
    """Both feature maps of the trunk."""
    trunk = build(*TRUNK)
    trunk.graph.output.append(onnx.helper.make_empty_tensor_value_info("a"))
    return dict(zip(("a", "y"), outputs(trunk, "a", "y"), strict=True))


def pooled() -> np.ndarray:
    return np.concatenate([features.mean(axis=(2, 3)) for features in maps().values()], axis=1)


def trunk_prior(kind: str, names: tuple[str, ...] = ("a", "y"), probe: Probe | None = None) -> np.ndarray:
    feeds = {name: maps()[name] for name in names}
    shapes = {name: features.shape[1:] for name, features in feeds.items()}
    model = prior_graph({"prior": kind}, preprocessing_for(FLOATS), FLOATS.shape[1:], shapes, probe)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(["prior"], feeds)[0]


def test_pooled_features_are_means_over_positions_joined() -> None:
    (found,) = outputs(with_features(["a", "y"]), "pooled")
    np.testing.assert_allclose(found, pooled(), atol=1e-6)


@pytest.mark.parametrize(("kind", "sign"), [("trunk_probe", 1), ("negated_trunk_probe", -1)])
def test_a_probe_in_the_graph_equals_its_formula(kind: str, sign: int) -> None:
    expected = sign * expit(pooled() @ np.array(PROBE.weights) + PROBE.bias)
    np.testing.assert_allclose(trunk_prior(kind, probe=PROBE), expected, rtol=1e-5)


def test_the_energy_of_a_trunk_is_the_mean_magnitude_of_its_features() -> None:
    y, found = outputs(with_features(["y"]), "y", "energy")
    np.testing.assert_allclose(found, l1(y), rtol=1e-5)
    np.testing.assert_allclose(trunk_prior("trunk_energy", ("y",)), l1(y), rtol=1e-5)
    both = (l1(maps()["a"]) + l1(y)) / 2
    np.testing.assert_allclose(trunk_prior("negated_trunk_energy"), -both, rtol=1e-5)


def test_several_priors_of_an_input_are_one_graph() -> None:
    kinds = {f"prior_{number}": kind for number, kind in enumerate(FORMULAS)}
    model = prior_graph(kinds, preprocessing_for(FLOATS), FLOATS.shape[1:])
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    for found, kind in zip(session.run(list(kinds), {"image": FLOATS}), FORMULAS, strict=True):
        np.testing.assert_allclose(found, FORMULAS[kind](FLOATS), rtol=1e-5)


def test_tokens_are_pooled_over_tokens() -> None:
    trunk = build("y = MatMul(x, w)", {"w": (5, 6)}, inputs="float[N,7,5] x")
    x = np.random.default_rng(0).standard_normal((3, 7, 5)).astype(np.float32)
    model = append_features(trunk, ["y"], "energy", "pooled")
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    y, found = session.run(["y", "pooled"], {"x": x})
    np.testing.assert_allclose(found, y.mean(axis=1), atol=1e-6)


def test_features_are_read_where_the_trunk_does_not_tell_their_shapes() -> None:
    trunk = build(*TRUNK)
    del trunk.graph.value_info[:]
    (found,) = outputs(append_features(trunk, ["a", "y"], "energy", "pooled"), "pooled")
    np.testing.assert_allclose(found, pooled(), atol=1e-6)


def test_appending_leaves_the_trunk_as_it_was() -> None:
    trunk = build(*TRUNK)
    before = trunk.SerializeToString(deterministic=True)
    append_features(trunk, ["a", "y"], "energy", "pooled")
    assert trunk.SerializeToString(deterministic=True) == before


def test_a_prior_that_cannot_be_computed_says_why() -> None:
    with pytest.raises(SurgeryError, match="no tensor gone for a prior to read"):
        with_features(["gone"])
    with pytest.raises(SurgeryError, match="8 weights and the features are 4"):
        trunk_prior("trunk_probe", ("y",), PROBE)
    with pytest.raises(SurgeryError, match="needs a probe"):
        trunk_prior("trunk_probe")
    with pytest.raises(SurgeryError, match="have rank 5: expected 2, 3 or 4"):
        prior_graph({"prior": "trunk_probe"}, preprocessing_for(FLOATS), (3, 8, 8), {"v": (8, 2, 2, 2)}, PROBE)
