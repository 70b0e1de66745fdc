"""Engines on a fake device of every version: what they answer, copy, compute and capture."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from agfedge_runtime.cascade.cascade import Cascade
from agfedge_runtime.engines.tensorrt.build.options import BuildOptions
from agfedge_runtime.engines.tensorrt.run.engine import TensorRtEngine
from agfedge_runtime.errors import BackendError
from fake_machine import FakeMachine, equal, model

ALL = ("probabilities", "confidence", "prior")
TWO = """
<ir_version: 10, opset_import: ["": 20]>
g (float[N,3] a, float[N,2] b) => (float[N,5] joined, float[N] total)
<int64[1] last = {1}>
{ joined = Concat<axis=1>(a, b) total = ReduceSum<keepdims=0>(joined, last) }
"""
DOUBLED = """
<ir_version: 10, opset_import: ["": 20]>
g (float[N,5] joined) => (float[N,5] doubled) { doubled = Add(joined, joined) }
"""


# Every version.


def test_the_whole_path_answers_as_onnx_runtime_does(any_version, tiny, reference):
    x = tiny.mixed()
    with_batches = [x[:1], x[:2], x, x[:1]]
    engine = any_version.engine(tiny.light())
    try:
        assert (engine.input_names, engine.output_names) == (("x",), ALL)
        for batch in with_batches:
            equal(engine.run({"x": batch}, ALL), reference(tiny.light(), batch))
    finally:
        engine.close()
    assert any_version.gpu.left_over() == {}


def test_explicit_batch_is_asked_for_where_the_version_needs_it(any_version, tiny):
    any_version.engine(tiny.light()).close()
    ((flags,),) = any_version.tensorrt.called("Builder.create_network")
    assert flags == (1 if any_version.tensorrt.number() == 8 else 0)


@pytest.mark.parametrize("share", [True, False])
def test_graphs_are_captured_after_plain_runs_and_answer_the_same(any_version, tiny, share, reference):
    x = tiny.mixed()
    engine = any_version.engine(tiny.light(), share_activations=share)
    for round_ in range(8):
        for batch in (x[:1], x[:3]):
            moved = np.roll(batch, round_)
            equal(engine.run({"x": moved}, ALL), reference(tiny.light(), moved))
    assert engine.graphs == 2
    assert any_version.gpu.launches == 2 * 5
    enqueued = len(any_version.tensorrt.called("IExecutionContext.execute_async_v3"))
    assert enqueued == 2 * (3 + 2), "three plain runs, one on the context to capture, and the capture"
    engine.close()
    assert any_version.gpu.left_over() == {}


@pytest.mark.parametrize(
    "step", ["cuStreamBeginCapture_v2", "cuStreamEndCapture", "cuGraphInstantiateWithFlags", "enqueue"]
)
def test_a_failed_capture_falls_back_to_plain_runs(any_version, tiny, step, caplog, reference):
    engine = any_version.engine(tiny.light())
    x = tiny.mixed()[:1]
    for _ in range(3):
        engine.run({"x": x}, ALL)
    if step == "enqueue":
        any_version.tensorrt.enqueue_failures = ["", "operation not permitted when stream is capturing"]
    else:
        any_version.gpu.refuse.add(step)
    for _ in range(6):
        equal(engine.run({"x": x}, ALL), reference(tiny.light(), x))
    assert engine.graphs == 0
    assert engine.capture_failure
    assert len([each for each in caplog.records if "without CUDA graphs" in each.message]) == 1
    engine.close()
    assert any_version.gpu.left_over() == {}


def test_activation_memory_is_shared_by_engines_and_grows_for_the_larger_one(any_version, tiny, reference):
    any_version.tensorrt.activation_bytes = 1000
    light = any_version.engine(tiny.light())
    x = tiny.mixed()[:1]
    for _ in range(5):
        light.run({"x": x}, ALL)
    assert light.graphs == 1
    any_version.tensorrt.activation_bytes = 5000
    heavy = any_version.engine(tiny.heavy(), "heavy.onnx")
    for _ in range(9):
        equal(heavy.run({"x": x}, ("probabilities",)), reference(tiny.heavy(), x, ("probabilities",)))
    any_version.tensorrt.activation_bytes = 1000
    for _ in range(5):
        equal(light.run({"x": x}, ALL), reference(tiny.light(), x))
    assert light.graphs == 1
    light.close()
    heavy.close()
    assert any_version.gpu.left_over() == {}


def test_a_cascade_decides_as_on_the_cpu(any_version, tiny):
    bundle = tiny.bundle()
    x = tiny.mixed()
    with Cascade.open(bundle, "onnxruntime") as cpu:
        wanted = cpu(x)
        one_by_one = [cpu(x[row : row + 1]) for row in range(len(x))]
    parts = ("light", "heavy", "prior")
    engines = {part: any_version.engine(bundle.file(f"{part}.onnx").read_bytes()) for part in parts}
    with Cascade(bundle.manifest, **engines) as cascade:
        for _ in range(5):
            found = cascade(x)
            np.testing.assert_array_equal(found.branches, wanted.branches)
            np.testing.assert_array_equal(found.probabilities, wanted.probabilities)
            for row, each in enumerate(one_by_one):
                np.testing.assert_array_equal(cascade(x[row : row + 1]).probabilities, each.probabilities)
    assert any_version.gpu.left_over() == {}


# What is copied and computed.


def test_only_what_is_asked_for_is_copied_back_the_smallest_first(machine, tiny):
    engine = machine.engine(tiny.light())
    machine.gpu.copies["dtoh"].clear()
    engine.run({"x": tiny.mixed()[:1]}, ("prior",))
    assert machine.gpu.copies["dtoh"] == [4]
    machine.gpu.copies["dtoh"].clear()
    engine.run({"x": tiny.mixed()[:1]}, ("probabilities", "confidence"))
    assert machine.gpu.copies["dtoh"] == [4, 8]
    engine.close()


def test_a_shared_input_is_copied_once_and_computed_once_by_each_engine(machine, tiny, reference):
    light, heavy = machine.engine(tiny.light()), machine.engine(tiny.heavy(), "heavy.onnx")
    x = tiny.mixed()[:1]
    wanted = reference(tiny.light(), x)
    for copies in machine.gpu.copies.values():
        copies.clear()
    enqueued = len(machine.tensorrt.called("IExecutionContext.execute_async_v3"))
    shared = light.share({"x": x})
    equal(light.run(shared, ("prior",)), wanted[2:])
    equal(light.run(shared, ("probabilities", "confidence")), wanted[:2])
    equal(heavy.run(shared, ("probabilities",)), reference(tiny.heavy(), x, ("probabilities",)))
    assert machine.gpu.copies["htod"] == [4]
    assert len(machine.tensorrt.called("IExecutionContext.execute_async_v3")) == enqueued + 2
    light.close()
    heavy.close()


def test_a_shared_input_that_was_overwritten_is_copied_again(machine, tiny, reference):
    light, heavy = machine.engine(tiny.light()), machine.engine(tiny.heavy(), "heavy.onnx")
    first, second = tiny.mixed()[:1], tiny.mixed()[1:2]
    shared = light.share({"x": first})
    light.run({"x": second}, ALL)
    for engine, graph in ((light, tiny.light()), (heavy, tiny.heavy())):
        equal(engine.run(shared, ("probabilities",)), reference(graph, first, ("probabilities",)))
    light.close()
    equal(heavy.run(shared, ("probabilities",)), reference(tiny.heavy(), first, ("probabilities",)))
    heavy.close()


def test_two_inputs_shared_in_a_row_do_not_mix(machine, tiny, reference):
    engine = machine.engine(tiny.light())
    engine.share({"x": tiny.mixed()[:1]})
    later = engine.share({"x": tiny.mixed()[1:2]})
    equal(engine.run(later, ALL), reference(tiny.light(), tiny.mixed()[1:2]))
    engine.close()


def test_features_stay_on_the_device_from_one_engine_to_the_next(machine):
    trunk, expert = machine.engine(model(TWO), "trunk.onnx"), machine.engine(model(DOUBLED), "expert.onnx")
    for row in range(6):
        a, b = np.full((2, 3), row, np.float32), np.full((2, 2), 5, np.float32)
        joined = np.concatenate([a, b], axis=1)
        for copies in machine.gpu.copies.values():
            copies.clear()
        features = trunk.run_shared({"a": a, "b": b}, ("joined",))
        np.testing.assert_array_equal(expert.run(features, ("doubled",))[0], 2 * joined)
        assert machine.gpu.copies == {"htod": [a.nbytes, b.nbytes], "dtoh": [joined.nbytes]}
        np.testing.assert_array_equal(features["joined"], joined)
        assert machine.gpu.copies["dtoh"] == [joined.nbytes] * 2
    assert (trunk.graphs, expert.graphs) == (1, 1)
    trunk.close()
    expert.close()


@pytest.mark.parametrize("memory", ["pinned", "mapped"])
def test_an_input_stays_until_the_run_that_is_captured_has_read_it(monkeypatch, tmp_path, tiny, reference, memory):
    machine = FakeMachine(monkeypatch, tmp_path, integrated=True)
    engine = machine.engine(tiny.light(), memory=memory)
    first, second = tiny.mixed()[:1], tiny.mixed()[1:2]
    for _ in range(3):
        engine.run({"x": second}, ALL)
    left = engine.run_shared({"x": first}, ALL)
    assert machine.gpu.launches == 1
    engine.share({"x": second})
    equal([left[name] for name in ALL], reference(tiny.light(), first))
    engine.close()


def test_features_of_other_names_are_refused_without_a_copy(machine):
    engine = machine.engine(model(TWO))
    features = engine.run_shared({"a": np.ones((1, 3), np.float32), "b": np.ones((1, 2), np.float32)}, ("joined",))
    with pytest.raises(BackendError, match="got the inputs joined, expected a, b"):
        engine.run(features, ("joined",))
    assert machine.gpu.copies["dtoh"] == []
    engine.close()


def test_features_that_were_overwritten_are_not_answered(machine):
    trunk = machine.engine(model(TWO), "trunk.onnx")
    rows = {"a": np.ones((1, 3), np.float32), "b": np.ones((1, 2), np.float32)}
    features = trunk.run_shared(rows, ("joined", "total"))
    np.testing.assert_array_equal(features["total"], [5])
    trunk.run(rows, ("total",))
    np.testing.assert_array_equal(features["total"], [5])
    with pytest.raises(BackendError, match="joined is no longer on the GPU"):
        features["joined"]
    trunk.close()


def test_a_batch_that_is_too_large_runs_in_pieces(machine, tiny, reference):
    engine = machine.engine(tiny.light(), batch=(1, 1, 4))
    x = np.concatenate([tiny.mixed()] * 2)[:11]
    equal(engine.run({"x": x}, ALL), reference(tiny.light(), x))
    assert engine.share({"x": x})["x"] is x
    equal([engine.run_shared({"x": x}, ALL)[name] for name in ALL], reference(tiny.light(), x))
    engine.close()


def test_answers_belong_to_the_caller(machine, tiny):
    engine = machine.engine(tiny.light())
    (first,) = engine.run({"x": tiny.mixed()[:1]}, ("probabilities",))
    kept = first.copy()
    first.setflags(write=True)
    engine.run({"x": tiny.mixed()[1:2]}, ("probabilities",))
    np.testing.assert_array_equal(first, kept)
    engine.close()


def test_an_input_of_any_layout_in_memory_is_taken(machine, tiny, reference):
    engine = machine.engine(tiny.light())
    x = np.concatenate([tiny.mixed()] * 2)[::2]
    assert not x.flags.c_contiguous
    equal(engine.run({"x": x}, ALL), reference(tiny.light(), x))
    engine.close()


def test_many_runs_allocate_nothing(machine, tiny):
    engine = machine.engine(tiny.light())
    x = tiny.mixed()
    sizes = [1, 2, 3, 1, 5]
    for _ in range(5):
        for size in sizes:
            engine.run({"x": x[:size]}, ALL)
    made, contexts = dict(machine.gpu.made), machine.tensorrt.live_contexts
    for _ in range(100):
        for size in sizes:
            engine.run(engine.share({"x": x[:size]}), ALL)
    assert (machine.gpu.made, machine.tensorrt.live_contexts) == (made, contexts)
    engine.close()
    assert machine.tensorrt.live_contexts == machine.tensorrt.live_engines == 0


def test_no_more_graphs_are_captured_than_allowed(machine, tiny):
    engine = machine.engine(tiny.light(), graphs=2)
    for _ in range(6):
        for size in (1, 2, 3, 4):
            engine.run({"x": tiny.mixed()[:size]}, ALL)
    assert engine.graphs == 2
    engine.close()
    without = machine.engine(tiny.light(), graphs=0)
    for _ in range(6):
        without.run({"x": tiny.mixed()[:1]}, ALL)
    assert (without.graphs, without.capture_failure) == (0, "")
    without.close()


# What an engine is.


def test_what_an_engine_is_can_be_read_back(machine, tiny):
    engine = machine.engine(tiny.light())
    assert (engine.name, engine.version, engine.threads, engine.precision) == ("tensorrt", "10.3.0.0", 1, "fp32")
    assert engine.dtypes == {"x": np.uint8, "probabilities": np.float32, "confidence": np.float32, "prior": np.float32}
    assert engine.shapes["x"] == (-1, 2, 2, 1)
    assert (engine.memory.kind, engine.memory.reason) == ("pinned", "the GPU has memory of its own")
    engine.close()


def test_an_engine_for_a_dla_runs_on_its_core(any_version, tiny, tmp_path):
    any_version.engine(tiny.light()).close()
    plan = any_version.store().plan(tmp_path / "light.onnx", BuildOptions("fp32"))
    cores = []
    any_version.tensorrt.on_deserialize = lambda runtime: cores.append(runtime.DLA_core)
    for dla in (None, 1):
        found = dataclasses.replace(plan, key=dataclasses.replace(plan.key, dla=dla))
        TensorRtEngine(tmp_path / "light.onnx", plan=found).close()
    assert cores == [-1, 1]


def test_tensorrt_rtx_is_the_same_engine_by_another_module(monkeypatch, tmp_path, tiny, reference):
    machine = FakeMachine(monkeypatch, tmp_path, "11.1", name="tensorrt_rtx")
    engine = machine.engine(tiny.light())
    assert engine.name == "tensorrt_rtx"
    equal(engine.run({"x": tiny.mixed()}, ALL), reference(tiny.light(), tiny.mixed()))
    engine.close()


@pytest.mark.parametrize("memory", ["pinned", "mapped", "auto"])
def test_an_integrated_gpu_answers_the_same_from_either_memory(monkeypatch, tmp_path, tiny, memory, reference):
    machine = FakeMachine(monkeypatch, tmp_path, integrated=True)
    light = machine.engine(tiny.light(), memory=memory)
    heavy = machine.engine(tiny.heavy(), "heavy.onnx", memory=memory)
    assert light.memory.kind == memory or memory == "auto"
    for row in range(6):
        x = tiny.mixed()[row : row + 1]
        shared = light.share({"x": x})
        equal(light.run(shared, ALL), reference(tiny.light(), x))
        equal(heavy.run(shared, ("probabilities",)), reference(tiny.heavy(), x, ("probabilities",)))
    light.close()
    heavy.close()
    assert machine.gpu.left_over() == {}
