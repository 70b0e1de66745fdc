"""Priors as nodes of a graph equal their formulas in numpy."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest

from agfedge.preprocess import preprocessing_for
from agfedge_export.heads import attach_heads
from agfedge_export.priors import prior_kinds
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
    how = preprocessing_for(x, mean, STD if mean else None)
    model = attach_heads(build("y = Flatten(x)", {}), how, x.shape[1:], priors={"prior": kind})
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
    core = build("y = Identity(x)", {}, inputs="float[N,5] x")
    model = attach_heads(core, preprocessing_for(x), (5,), priors={"prior": kind})
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(["prior"], {"image": x})[0], FORMULAS[kind](x), rtol=1e-5)
