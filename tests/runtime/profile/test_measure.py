"""A measurement keeps raw samples of every part, and its JSON gives them back exactly."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from agfedge_runtime import Branch
from agfedge_runtime.errors import InputError, NotFiniteError
from agfedge_runtime.profile.measure import Samples, measure
from agfedge_runtime.profile.stopwatch import Stopwatch


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


def test_stages_are_timed_in_the_decisions_that_ran_them_and_take_no_longer_than_the_call(samples):
    ran = {
        "prior": np.full(20, True),
        "light": samples.branches != Branch.EARLY,
        "heavy": samples.branches != Branch.LIGHT,
    }
    assert tuple(samples.stage_us) == tuple(ran)
    for stage, times_us in samples.stage_us.items():
        np.testing.assert_array_equal(~np.isnan(times_us), ran[stage], err_msg=stage)
    inside = sum(np.nan_to_num(times_us) for times_us in samples.stage_us.values())
    assert (inside > 0).all()
    assert (inside < samples.cascade_us).all()


def test_calls_follow_each_other_from_the_begin_of_the_run(samples):
    assert samples.start_s[0] >= 0
    assert (np.diff(samples.start_s) > 0).all()
    ended_s = samples.start_s[:-1] + samples.cascade_us[:-1] / 1e6
    assert (samples.start_s[1:] >= ended_s).all()


def test_on_the_cpu_no_device_tells_its_own_times(samples):
    assert samples.device_us == {}


def test_a_cascade_is_as_it_was_after_it_was_timed(tiny):
    cascade = tiny.cascade()
    engines, attributes = dict(cascade.engines), set(vars(cascade))
    with Stopwatch(cascade) as stopwatch:
        stopwatch.cascade(tiny.mixed()[:1])
        spent, _ = stopwatch.take()
        assert set(spent) == {"prior", "heavy"}
        assert stopwatch.take() == ({}, {})
        cascade(tiny.mixed()[:1])
        assert stopwatch.take() == ({}, {}), "the cascade that was given is not timed"
    assert (cascade.engines, set(vars(cascade))) == (engines, attributes)


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
        elif field.name == "stage_us":
            assert after.keys() == before.keys()
            for stage, times_us in before.items():
                np.testing.assert_array_equal(after[stage], times_us, err_msg=stage)
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
