"""Which expert answers, when, and what is refused; on real ONNX Runtime."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from agfedge_runtime import Branch, Cascade
from agfedge_runtime.bundle.bundle import Bundle
from agfedge_runtime.engines import open_engine
from agfedge_runtime.errors import (
    BackendError,
    BundleDigestError,
    InputError,
    MissingPackageError,
    NotFiniteError,
)

EARLY, LIGHT, LATE = int(Branch.EARLY), int(Branch.LIGHT), int(Branch.LATE)


def test_a_high_prior_escalates_before_the_light_expert_runs(tiny):
    decisions = tiny.cascade()(tiny.rows((255, 0, 240, 0)))
    assert decisions.branches.tolist() == [EARLY]
    assert decisions.labels.tolist() == [1]
    assert decisions.prior == pytest.approx([240 / 255])
    assert np.isnan(decisions.confidence).tolist() == [True]


def test_a_confident_light_expert_answers(tiny):
    decisions = tiny.cascade()(tiny.rows((250, 0, 9, 0)))
    assert decisions.branches.tolist() == [LIGHT]
    assert decisions.labels.tolist() == [0]
    assert decisions.probabilities == pytest.approx(np.array([[250 / 255, 5 / 255]]), abs=1e-6)
    assert decisions.confidence == pytest.approx([250 / 255])


def test_an_unsure_light_expert_hands_over_to_the_heavy_one(tiny):
    decisions = tiny.cascade()(tiny.rows((130, 0, 9, 0)))
    assert decisions.branches.tolist() == [LATE]
    assert decisions.labels.tolist() == [1]
    assert decisions.confidence == pytest.approx([130 / 255])
    assert decisions.probabilities == pytest.approx(np.array([[0.0, 1.0]]))


@pytest.mark.parametrize("count", [1, 6])
def test_decisions_have_their_dtypes_and_shapes(tiny, count):
    decisions = tiny.cascade()(tiny.mixed()[:count])
    found = {
        name: (getattr(decisions, name).dtype, getattr(decisions, name).shape)
        for name in ("labels", "probabilities", "branches", "prior", "confidence")
    }
    assert found == {
        "labels": (np.int64, (count,)),
        "probabilities": (np.float32, (count, 2)),
        "branches": (np.uint8, (count,)),
        "prior": (np.float32, (count,)),
        "confidence": (np.float32, (count,)),
    }
    assert decisions.latency_us > 0


@pytest.mark.parametrize("thresholds", [{}, {"prior": None}, {"has_prior": False}, {"confidence": 1.5}])
def test_a_batch_is_decided_as_its_rows_are(tiny, thresholds):
    cascade, x = tiny.cascade(**thresholds), tiny.mixed()
    batch = cascade(x)
    single = [cascade(x[i : i + 1]) for i in range(len(x))]
    for name in ("labels", "branches", "prior", "confidence"):
        expected = np.concatenate([getattr(each, name) for each in single])
        np.testing.assert_array_equal(getattr(batch, name), expected, err_msg=name)
    expected = np.concatenate([each.probabilities for each in single])
    np.testing.assert_allclose(batch.probabilities, expected, atol=1e-6)


def test_a_mixed_batch_takes_every_branch(tiny):
    assert tiny.cascade()(tiny.mixed()).branches.tolist() == [EARLY, LIGHT, LATE, LIGHT, LATE, EARLY]


@pytest.mark.parametrize("count", [1, 6])
def test_a_confidence_threshold_of_zero_leaves_all_to_the_light_expert(tiny, count):
    cascade = tiny.cascade(confidence=0.0, prior=None, heavy=tiny.heavy("trap"))
    x = tiny.mixed()[:count].copy()
    x[:, 1, 1] = 255  # The heavy expert could not answer this.
    assert cascade(x).branches.tolist() == [LIGHT] * count


@pytest.mark.parametrize("count", [1, 6])
def test_a_confidence_threshold_above_one_never_runs_the_light_expert(tiny, count):
    cascade = tiny.cascade(confidence=1.5, light=tiny.light("trap"))
    x = tiny.mixed()[:count].copy()
    x[:, 1, 1] = 255  # The light expert could not answer this.
    decisions = cascade(x)
    assert decisions.branches.tolist() == [EARLY] * count
    assert np.isnan(decisions.prior).all()
    assert np.isnan(decisions.confidence).all()


def test_a_confidence_at_its_threshold_is_enough(tiny):
    one, many = tiny.rows((200, 0, 0, 0)), tiny.rows((200, 0, 0, 0), (200, 0, 0, 0))
    reached = float(tiny.cascade()(one).confidence[0])
    for threshold, branch in ((reached, LIGHT), (np.nextafter(reached, 1), LATE)):
        cascade = tiny.cascade(confidence=float(threshold), prior=None)
        assert cascade(one).branches.tolist() == [branch]
        assert cascade(many).branches.tolist() == [branch] * 2


def test_a_prior_at_its_threshold_does_not_escalate(tiny):
    one, many = tiny.rows((255, 0, 200, 0)), tiny.rows((255, 0, 200, 0), (255, 0, 200, 0))
    reached = float(tiny.cascade().prior(one)[0])
    for threshold, branch in ((reached, LIGHT), (np.nextafter(reached, 0), EARLY)):
        cascade = tiny.cascade(prior=float(threshold))
        assert cascade(one).branches.tolist() == [branch]
        assert cascade(many).branches.tolist() == [branch] * 2


def test_a_prior_without_threshold_is_not_computed(tiny):
    decisions = tiny.cascade(prior=None)(tiny.rows((250, 0, 255, 0)))
    assert decisions.branches.tolist() == [LIGHT]
    assert np.isnan(decisions.prior).all()


def test_the_prior_alone_does_not_run_the_light_expert(tiny):
    cascade = tiny.cascade(light=tiny.light("trap"))
    x = tiny.rows((255, 0, 240, 255))
    assert cascade.prior(x) == pytest.approx([240 / 255])
    assert cascade(x).branches.tolist() == [EARLY]
    with pytest.raises(BackendError, match=r"light\.onnx"):
        cascade.light(x)


def test_the_experts_can_be_asked_alone(tiny):
    cascade, x = tiny.cascade(), tiny.rows((51, 204, 240, 0))
    assert cascade.light(x) == pytest.approx(np.array([[0.2, 0.8]]))
    assert cascade.heavy(x) == pytest.approx(np.array([[0.8, 0.2]]))


def test_a_bundle_without_prior_has_none_to_ask_for(tiny):
    cascade = tiny.cascade(has_prior=False)
    assert not cascade.has_prior
    with pytest.raises(InputError, match="no prior"):
        cascade.prior(tiny.mixed())


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("confidence", [0.0, 0.75])
@pytest.mark.parametrize("confidence_of", ["probabilities", "sound"])
def test_nan_from_the_light_expert_is_never_an_answer(tiny, count, confidence, confidence_of):
    # Also when its confidence looks sound, and when the heavy expert would answer instead.
    cascade = tiny.cascade(light=tiny.light("nan", confidence_of), confidence=confidence)
    x = tiny.rows((130, 0, 0, 255), (130, 0, 0, 0), (250, 0, 0, 0))[:count]
    with pytest.raises(NotFiniteError, match=f"light expert answered NaN or infinity for 1 of {count} inputs"):
        cascade(x)


@pytest.mark.parametrize("count", [1, 3])
def test_nan_from_the_heavy_expert_is_never_an_answer(tiny, count):
    cascade = tiny.cascade(heavy=tiny.heavy("nan"))
    x = tiny.rows((130, 0, 0, 255), (130, 0, 0, 0), (250, 0, 0, 0))[:count]
    with pytest.raises(NotFiniteError, match="heavy expert answered NaN"):
        cascade(x)
    with pytest.raises(NotFiniteError, match="heavy expert answered NaN"):
        cascade.heavy(x)


@pytest.mark.parametrize("count", [1, 3])
def test_nan_from_the_prior_is_never_a_decision(tiny, count):
    cascade = tiny.cascade(prior_graph=tiny.prior("faulty", "nan"))
    with pytest.raises(NotFiniteError, match=f"prior is NaN or infinite for 1 of {count} inputs"):
        cascade(tiny.rows((250, 0, 0, 255), (250, 0, 0, 0), (250, 0, 0, 0))[:count])


@pytest.mark.parametrize("count", [1, 3])
def test_a_confidence_outside_its_range_is_refused(tiny, count):
    cascade = tiny.cascade(light=tiny.light(confidence_of="bytes"))
    with pytest.raises(NotFiniteError, match=r"confidence is 250\.0, expected 0 to 1"):
        cascade(tiny.rows((250, 0, 0, 0), (0, 0, 0, 0), (1, 0, 0, 0))[:count])


@pytest.mark.parametrize(
    ("x", "got"),
    [
        (np.zeros((1, 2, 2, 1), np.float32), r"got float32 \(1, 2, 2, 1\)"),
        (np.zeros((1, 2, 2), np.uint8), r"got uint8 \(1, 2, 2\)"),
        (np.zeros((1, 1, 2, 2), np.uint8), r"got uint8 \(1, 1, 2, 2\)"),
        (np.zeros((0, 2, 2, 1), np.uint8), r"got uint8 \(0, 2, 2, 1\)"),
        (np.zeros((), np.uint8), r"got uint8 \(\)"),
        ([[[[0]]]], "got a list"),
    ],
)
def test_an_input_that_does_not_fit_is_refused(tiny, x, got):
    cascade = tiny.cascade()
    for call in (cascade, cascade.light, cascade.heavy, cascade.prior):
        with pytest.raises(InputError, match=got + r".*expected uint8 \(N, 2, 2, 1\)"):
            call(x)


def test_strided_input_gives_the_same_answer(tiny):
    cascade, x = tiny.cascade(), tiny.mixed()
    strided = np.asfortranarray(np.repeat(x, 2, axis=0))[::2]
    assert not strided.flags.c_contiguous
    np.testing.assert_array_equal(cascade(strided).probabilities, cascade(x).probabilities)


def test_answers_stay_when_the_next_one_comes(tiny):
    cascade = tiny.cascade()
    first = cascade(tiny.rows((250, 0, 9, 0)))
    before = first.probabilities.copy()
    cascade(tiny.rows((3, 0, 9, 0)))
    np.testing.assert_array_equal(first.probabilities, before)


def test_a_closed_cascade_says_so(tiny):
    with tiny.cascade() as cascade:
        pass
    cascade.close()
    with pytest.raises(BackendError, match="closed"):
        cascade(tiny.mixed())


def test_a_bundle_is_verified_before_it_runs(tiny):
    path = tiny.bundle().path
    (path / "heavy.onnx").write_bytes(tiny.heavy()[:-1] + b"?")
    with pytest.raises(BundleDigestError):
        Cascade.open(path)


def test_an_opened_bundle_opens_as_a_cascade(tiny):
    bundle = tiny.bundle()
    cascade = Cascade.open(Bundle.open(bundle.path), threads=2)
    assert (cascade.digest, cascade.backend, cascade.threads) == (bundle.digest, "onnxruntime", 2)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"confidence", b"confidents", "expected confidence among them"),
        (b"\x01x", b"\x01z", "has the inputs z, expected x"),
    ],
)
def test_a_graph_with_other_names_than_the_manifest_is_refused(tiny, old, new, message):
    bundle = tiny.bundle(light=tiny.light().replace(old, new))
    with pytest.raises(BackendError, match=message):
        Cascade.open(bundle)


def test_a_graph_with_other_shapes_than_the_manifest_is_refused(tiny):
    bundle = tiny.bundle(prior_graph=tiny.prior("wide"))
    with pytest.raises(BackendError, match=r"answers prior as float32 \(2, 1\)"):
        Cascade.open(bundle)


def test_what_is_no_onnx_model_is_refused(tiny):
    bundle = tiny.bundle(light=b"not a model")
    with pytest.raises(BackendError, match=r"light\.onnx"):
        Cascade.open(bundle)


def test_an_unknown_backend_is_told_the_known_ones(tiny):
    with pytest.raises(BackendError, match="'tpu', expected one of auto, onnxruntime"):
        open_engine(tiny.bundle().file("light.onnx"), "tpu")


def test_no_threads_are_refused(tiny):
    with pytest.raises(InputError, match="0 threads"):
        open_engine(tiny.bundle().file("light.onnx"), threads=0)


def test_a_missing_onnxruntime_names_its_install_command(tiny, monkeypatch):
    bundle = tiny.bundle()
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingPackageError, match=r"pip install onnxruntime"):
        Cascade.open(bundle)
