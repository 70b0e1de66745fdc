"""A measurement keeps raw samples of every part, and its JSON gives them back exactly."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from agfedge_runtime.errors import InputError, NotFiniteError
from agfedge_runtime.measure import Samples, measure


@pytest.fixture
def samples(tiny) -> Samples:
    return measure(tiny.cascade(), tiny.mixed(), decisions=20, warmup=2)


def test_there_is_one_element_for_each_decision(samples):
    assert len(samples) == 20
    for field in dataclasses.fields(samples):
        value = getattr(samples, field.name)
        if isinstance(value, np.ndarray):
            assert value.shape == (20,), field.name


def test_inputs_are_taken_in_turn(samples):
    assert samples.input_index.tolist() == [step % 6 for step in range(20)]


def test_answers_are_those_of_the_cascade_and_of_each_expert(tiny, samples):
    cascade, x = tiny.cascade(), tiny.mixed()[samples.input_index]
    decisions = cascade(x)
    np.testing.assert_array_equal(samples.labels, decisions.labels)
    np.testing.assert_array_equal(samples.branches, decisions.branches)
    np.testing.assert_array_equal(samples.prior, decisions.prior)
    np.testing.assert_array_equal(samples.confidence, decisions.confidence)
    np.testing.assert_array_equal(samples.heavy_labels, cascade.heavy(x).argmax(axis=1))
    np.testing.assert_array_equal(samples.light_labels, cascade.light(x).argmax(axis=1))


def test_every_part_is_timed(samples):
    for times_us in (samples.cascade_us, samples.heavy_us, samples.light_us, samples.prior_us):
        assert (times_us > 0).all()


def test_without_a_prior_its_time_is_nan(tiny):
    samples = measure(tiny.cascade(has_prior=False), tiny.mixed(), decisions=3, warmup=0)
    assert np.isnan(samples.prior_us).all()
    assert np.isnan(samples.prior).all()
    assert (samples.cascade_us > 0).all()


def test_samples_say_what_was_measured_and_where(tiny):
    cascade = tiny.cascade()
    samples = measure(cascade, tiny.mixed(), decisions=1, warmup=0)
    assert (samples.bundle_digest, samples.backend, samples.threads) == (cascade.digest, "onnxruntime", 1)
    where = {"python", "numpy", "system", "machine", "processors"}
    assert where | {"backend_version", "backend_reason", "precision"} == set(samples.environment)
    assert samples.environment["backend_reason"].startswith("ONNX Runtime ")


def test_progress_is_told_of_each_decision(tiny):
    steps: list[int] = []
    measure(tiny.cascade(), tiny.mixed(), decisions=5, warmup=3, progress=steps.append)
    assert steps == [1] * 5


def test_measuring_goes_on_for_the_seconds_asked_for(tiny):
    samples = measure(tiny.cascade(), tiny.mixed(), decisions=1, warmup=0, min_seconds=0.01)
    assert len(samples) > 1


def test_json_gives_the_samples_back_exactly(samples):
    again = Samples.from_json(samples.to_json())
    for field in dataclasses.fields(samples):
        before, after = getattr(samples, field.name), getattr(again, field.name)
        if isinstance(before, np.ndarray):
            assert after.dtype == before.dtype, field.name
            np.testing.assert_array_equal(after, before, err_msg=field.name)
        else:
            assert after == before


def test_json_has_no_nan(samples):
    assert np.isnan(samples.confidence).any()
    assert "NaN" not in samples.to_json()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("schema", 1),
        ("surprise", 1),
        ("threads", 0),
        ("backend", None),
        ("labels", [0] * 19),
        ("heavy_us", [1.0] * 19),
        ("heavy_us", ["1"] * 20),
        ("branches", [3] * 20),
        ("input_index", [0.5] * 20),
        ("environment", {"python": 3.11}),
    ],
)
def test_json_that_is_not_of_samples_is_refused(samples, key, value):
    document = {**json.loads(samples.to_json()), key: value}
    with pytest.raises(InputError, match="samples: key"):
        Samples.from_json(json.dumps(document))


def test_inputs_that_do_not_fit_are_refused(tiny):
    with pytest.raises(InputError, match="expected uint8"):
        measure(tiny.cascade(), tiny.mixed()[:, :1])


def test_no_decisions_are_refused(tiny):
    with pytest.raises(InputError, match="0 decisions"):
        measure(tiny.cascade(), tiny.mixed(), decisions=0)


def test_an_answer_that_is_not_finite_ends_the_measurement(tiny):
    with pytest.raises(NotFiniteError):
        measure(tiny.cascade(heavy=tiny.heavy("nan")), tiny.rows((0, 0, 0, 255)), decisions=1)
