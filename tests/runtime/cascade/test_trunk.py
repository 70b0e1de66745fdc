"""Two experts on one trunk: it runs once, decides as the whole experts would, and every misfit is told."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import onnx
import onnx.parser
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agfedge_runtime import Branch, Bundle, Cascade
from agfedge_runtime.bundle.bundle import write_bundle
from agfedge_runtime.bundle.golden import golden_bytes, load_golden
from agfedge_runtime.bundle.manifest import Costs, Experts, Manifest, Trunk
from agfedge_runtime.cascade.verify import record_golden, verify_golden
from agfedge_runtime.errors import BackendError, BundleKeyError, BundleMissingFileError, InputError, NotFiniteError
from agfedge_runtime.profile.measure import Samples, measure

# Sums of a few bytes over 256: exact in float32, in any order, so that only a wrong row could make a difference.
FRONT = """
  flat = Flatten<axis=1>(x)
  bytes = Cast<to=1>(flat)
  features = Div(bytes, full)
"""
PRIOR = "column = MatMul(features, third) prior = Squeeze(column, last)"
LIGHT = """
  picked = MatMul(features, a)
  probabilities = Add(picked, base)
  confidence = ReduceMax<keepdims=0>(probabilities, last)
"""
HEAVY = "picked = MatMul(features, b) probabilities = Add(picked, base)"
WEIGHTS = """<float full = {256.0}, int64[1] zero = {0}, int64[1] last = {1}, int64[1] three = {3},
 float[2] base = {0.0, 1.0},
 float[4,1] third = {0.0, 0.0, 1.0, 0.0},
 float[4,2] a = {1.0, -1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0}, float[4,2] b = {0.0, 0.0, 1.0, -1.0, 0.0, 0.0, 0.0, 0.0}>"""
INPUT = "uint8[N,2,2,1] x"
ANSWERS = "float[N,2] probabilities"


def graph(inputs: str, outputs: str, nodes: str) -> bytes:
    text = f'<ir_version: 10, opset_import: ["": 20]> g ({inputs}) => ({outputs}) {WEIGHTS} {{ {nodes} }}'
    return onnx.parser.parse_model(text).SerializeToString()


WHOLE = {
    "light.onnx": graph(INPUT, f"{ANSWERS}, float[N] confidence", FRONT + LIGHT),
    "heavy.onnx": graph(INPUT, ANSWERS, FRONT + HEAVY),
    "prior.onnx": graph(INPUT, "float[N] prior", FRONT + PRIOR),
}
SHARED = {
    "trunk.onnx": graph(INPUT, "float[N,4] features", FRONT),
    "prior.onnx": graph("float[N,4] features", "float[N] prior", PRIOR),
    "light.onnx": graph("float[N,4] features", f"{ANSWERS}, float[N] confidence", LIGHT),
    "heavy.onnx": graph("float[N,4] features", ANSWERS, HEAVY),
}


def shared_manifest(plain: Manifest, features: tuple[str, ...] = ("features",)) -> Manifest:
    experts = Experts(plain.experts.light, plain.experts.heavy, Trunk("trunk.onnx", 40, 4, features))
    full = dataclasses.replace(plain.precisions["fp32"], experts=experts)
    return dataclasses.replace(plain, precisions={"fp32": full}, costs=Costs(0.1, 0.01, trunk=0.5, heavy=0.5))


@pytest.fixture
def opened(tiny):
    """Opens two cascades with the same thresholds: whole experts, and the same ones on a trunk."""

    def open_both(**thresholds) -> tuple[Cascade, Cascade]:
        plain = tiny.manifest(**thresholds)
        whole = write_bundle(tiny.folder / "whole", plain, WHOLE)
        shared = write_bundle(tiny.folder / "shared", shared_manifest(plain), SHARED)
        return Cascade.open(whole), Cascade.open(shared)

    return open_both


@pytest.fixture
def shared(tiny):
    """Writes a bundle with a trunk; files may be replaced."""

    def write(files: dict[str, bytes] | None = None, **thresholds) -> Bundle:
        return write_bundle(
            tiny.folder / "shared", shared_manifest(tiny.manifest(**thresholds)), {**SHARED, **(files or {})}
        )

    return write


def same(found, expected) -> None:
    for name in ("labels", "branches", "prior", "confidence", "probabilities"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=name)


THRESHOLDS = [{}, {"prior": None}, {"has_prior": False}, {"confidence": 1.5}, {"confidence": 0.0, "prior": None}]


@pytest.mark.parametrize("count", [1, 6])
@pytest.mark.parametrize("thresholds", THRESHOLDS)
def test_a_trunk_changes_no_decision(tiny, opened, thresholds, count):
    whole, split = opened(**thresholds)
    x = tiny.mixed()[:count]
    same(split(x), whole(x))
    np.testing.assert_array_equal(split.light(x), whole.light(x))
    np.testing.assert_array_equal(split.heavy(x), whole.heavy(x))
    if split.has_prior:
        np.testing.assert_array_equal(split.prior(x), whole.prior(x))


ROWS = st.lists(st.tuples(*[st.integers(0, 255)] * 4), min_size=1, max_size=9)


@pytest.mark.parametrize("trunk", [False, True])
def test_decisions_are_the_same_whatever_the_batch_size(tiny, opened, trunk):
    cascades = {
        (confidence, prior): opened(confidence=confidence, prior=prior)[trunk]
        for confidence in (0.0, 0.5, 0.75, 1.0, 1.5)
        for prior in (None, 0.0, 0.5, 1.0)
    }

    @settings(max_examples=100, deadline=None)
    @given(ROWS, st.sampled_from(sorted(cascades, key=str)), st.data())
    def check(rows, thresholds, data):
        cascade, x = cascades[thresholds], tiny.rows(*rows)
        ends = data.draw(st.sets(st.integers(1, len(x) - 1))) if len(x) > 1 else set()
        parts = [cascade(part) for part in np.split(x, sorted(ends))]
        whole = cascade(x)
        for name in ("labels", "branches", "prior", "confidence", "probabilities"):
            np.testing.assert_array_equal(np.concatenate([getattr(each, name) for each in parts]), getattr(whole, name))

    check()


@pytest.mark.parametrize("trunk", [False, True])
def test_extreme_thresholds_leave_one_expert(tiny, opened, trunk):
    x = tiny.mixed()
    light = opened(confidence=0.0, prior=None)[trunk]
    assert (light(x).branches == Branch.LIGHT).all()
    np.testing.assert_array_equal(light(x).probabilities, light.light(x))
    heavy = opened(confidence=1.5)[trunk]
    assert (heavy(x).branches == Branch.EARLY).all()
    np.testing.assert_array_equal(heavy(x).probabilities, heavy.heavy(x))


class Counting:
    """An engine that remembers what it was asked for."""

    name, version, threads = "counting", "0", 1

    def __init__(self, engine) -> None:
        self.engine, self.asked, self.fed = engine, [], []
        self.input_names, self.output_names = engine.input_names, engine.output_names

    def run(self, inputs, outputs):
        self.asked.append((len(next(iter(inputs.values()))), tuple(outputs)))
        self.fed.append(dict(inputs))
        self.answer = self.engine.run(inputs, outputs)
        return self.answer

    def close(self) -> None:
        self.engine.close()


@pytest.fixture
def counted(shared):
    from agfedge_runtime.engines import open_engine

    def open_counted(**thresholds):
        bundle = shared(**thresholds)
        engines = {
            name: Counting(open_engine(bundle.file(f"{name}.onnx"))) for name in ("trunk", "light", "heavy", "prior")
        }
        cascade = Cascade(bundle.manifest, **engines)
        for engine in engines.values():
            engine.asked.clear()
            engine.fed.clear()
        return cascade, engines

    return open_counted


def test_the_trunk_runs_once_for_the_prior_and_both_experts(tiny, counted):
    cascade, engines = counted()
    cascade(tiny.rows((130, 0, 9, 0)))  # Light hands over to heavy.
    assert engines["trunk"].asked == [(1, ("features",))]
    assert engines["prior"].asked == [(1, ("prior",))]
    assert engines["light"].asked == [(1, ("probabilities", "confidence"))]
    assert engines["heavy"].asked == [(1, ("probabilities",))]


def test_the_features_of_one_input_are_not_copied(tiny, counted):
    cascade, engines = counted()
    cascade(tiny.rows((130, 0, 9, 0)))
    features = engines["trunk"].answer[0]
    assert engines["light"].fed[0]["features"] is features
    assert engines["heavy"].fed[0]["features"] is features
    assert engines["prior"].fed[0]["features"] is features


def test_only_rows_that_need_an_expert_reach_it(tiny, counted):
    cascade, engines = counted()
    branches = cascade(tiny.mixed()).branches
    assert engines["trunk"].asked == [(6, ("features",))]
    assert engines["prior"].asked == [(6, ("prior",))]
    assert [count for count, _ in engines["light"].asked] == [(branches != Branch.EARLY).sum()]
    assert [count for count, _ in engines["heavy"].asked] == [(branches != Branch.LIGHT).sum()]


def test_an_engine_for_a_prior_that_is_not_asked_is_refused(counted):
    with pytest.raises(BackendError, match="got a prior, expected none"):
        counted(prior=None)


def test_golden_answers_of_a_bundle_with_a_trunk_are_reproduced(tiny, shared):
    with Cascade.open(shared()) as cascade:
        golden = record_golden(cascade, tiny.mixed())
    bundle = shared({"golden.npz": golden_bytes(golden)}, golden=True)
    with Cascade.open(bundle) as cascade:
        assert verify_golden(cascade, load_golden(bundle)).passed


def test_the_trunk_is_timed_beside_the_experts(tiny, opened):
    whole, split = opened()
    found = measure(split, tiny.mixed(), decisions=8, warmup=2)
    assert (found.trunk_us > 0).all()
    assert (found.prior_us > 0).all()
    np.testing.assert_array_equal(Samples.from_json(found.to_json()).trunk_us, found.trunk_us)
    assert np.isnan(measure(whole, tiny.mixed(), decisions=2, warmup=0).trunk_us).all()


def test_nan_in_the_features_is_never_an_answer(tiny, shared):
    nan = FRONT.replace("features = Div(bytes, full)", "none = Sub(bytes, bytes) features = Div(none, none)")
    bundle = shared({"trunk.onnx": graph(INPUT, "float[N,4] features", nan)}, prior=None)
    with pytest.raises(NotFiniteError):
        Cascade.open(bundle)(tiny.mixed())


def test_a_trunk_whose_features_do_not_fit_the_tails_is_refused(shared):
    narrow = FRONT.replace("features = Div", "wide = Div")
    narrow += "features = Slice(wide, last, three, last)"
    trunk = graph(INPUT, "float[N,2] features", narrow)
    with pytest.raises(BackendError, match=r"light graph does not take features float32 \(2, 2\)") as caught:
        Cascade.open(shared({"trunk.onnx": trunk}, has_prior=False))
    assert len(str(caught.value).splitlines()) == 1


def test_features_of_other_names_are_refused(tiny):
    manifest = shared_manifest(tiny.manifest(), ("features", "bytes"))
    with pytest.raises(BackendError, match="trunk graph has the outputs features, expected bytes among them"):
        Cascade.open(write_bundle(tiny.folder / "b", manifest, SHARED))


def test_tails_that_take_something_else_are_refused(shared):
    with pytest.raises(BackendError, match="heavy graph has the inputs x, expected features"):
        Cascade.open(shared({"heavy.onnx": WHOLE["heavy.onnx"]}))


def test_features_that_are_frozen_to_one_row_are_refused(tiny):
    frozen = graph(INPUT, "float[1,4] one", FRONT + "one = ReduceSum<keepdims=1>(features, zero)")
    manifest = shared_manifest(tiny.manifest(), ("one",))
    bundle = write_bundle(tiny.folder / "frozen", manifest, {**SHARED, "trunk.onnx": frozen})
    with pytest.raises(BackendError, match=r"trunk answers one as float32 \(1, 4\) for two inputs"):
        Cascade.open(bundle)


def test_a_missing_trunk_is_named(shared):
    path = shared().path
    (path / "trunk.onnx").unlink()
    with pytest.raises(BundleMissingFileError, match=r"trunk\.onnx"):
        Cascade.open(path)


def test_an_expert_with_other_classes_is_refused(shared):
    three = HEAVY.replace("probabilities = Add(picked, base)", "probabilities = Concat<axis=1>(picked, picked)")
    tail = graph("float[N,4] features", "float[N,4] probabilities", three)
    with pytest.raises(BackendError, match=r"heavy graph answers probabilities as float32 \(2, 4\)"):
        Cascade.open(shared({"heavy.onnx": tail}))


def test_an_engine_for_a_trunk_that_the_manifest_lacks_is_refused(tiny, counted):
    _, engines = counted()
    with pytest.raises(BackendError, match="got a trunk, expected none"):
        Cascade(tiny.manifest(), **engines)


def test_a_trunk_without_prior_has_none_to_ask_for(tiny, shared):
    with pytest.raises(InputError, match="ask no prior"):
        Cascade.open(shared(has_prior=False)).prior(tiny.mixed())


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("experts/trunk/outputs", []),
        ("experts/trunk/outputs", ["same", "same"]),
        ("experts/trunk/outputs", [""]),
        ("experts/trunk/file", "absent.onnx"),
        ("experts/trunk/macs", -1),
        ("experts/trunk/extra", 1),
        ("experts/trunk", None),
    ],
)
def test_a_trunk_that_makes_no_sense_is_refused(shared, path, value):
    document = json.loads(shared().manifest.to_json())
    node, (*parents, last) = document["precisions"]["fp32"], path.split("/")
    for parent in parents:
        node = node[parent]
    node[last] = value
    with pytest.raises(BundleKeyError):
        Manifest.from_json(json.dumps(document))
