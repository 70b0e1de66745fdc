"""How engines on a fake device end and fail: nothing is left behind, and every error is one line that says why."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from agfedge_runtime.engines.tensorrt.build.options import BuildOptions
from agfedge_runtime.engines.tensorrt.run.engine import TensorRtEngine
from agfedge_runtime.errors import BackendError, InputError, MissingPackageError
from fake_machine import equal, model

ALL = ("probabilities", "confidence", "prior")
TWO = """
<ir_version: 10, opset_import: ["": 20]>
g (float[N,3] a, float[N,2] b) => (float[N] total)
<int64[1] last = {1}>
{ joined = Concat<axis=1>(a, b) total = ReduceSum<keepdims=0>(joined, last) }
"""


def test_a_null_engine_is_told_with_the_reason(any_version, tiny, tmp_path):
    any_version.engine(tiny.light()).close()
    plan = any_version.store().plan(tmp_path / "light.onnx", BuildOptions("fp32"))
    foreign = type(plan)(b"not a plan", plan.key, plan.precision, plan.path, 0.0, (), False)
    with pytest.raises(BackendError, match=r"^light\.onnx: TensorRT .* cannot load the engine: .*magicTag.*build it"):
        TensorRtEngine(tmp_path / "light.onnx", plan=foreign)
    assert any_version.gpu.left_over() == {}


def test_a_null_runtime_is_told(machine, tiny, monkeypatch):
    def none(logger) -> None:
        logger.log(machine.tensorrt.module.Logger.ERROR, "CUDA initialization failure with error: 35")
        raise TypeError("pybind11::init(): factory function returned nullptr")

    monkeypatch.setattr(machine.tensorrt.module, "Runtime", none)
    with pytest.raises(
        BackendError, match=r"TensorRT 10\.3\.0\.0 cannot run engines here: CUDA init.* 35; run `agfedge-r"
    ):
        machine.engine(tiny.light())
    assert machine.gpu.left_over() == {}


def test_a_failed_enqueue_is_told_with_the_reason(any_version, tiny, reference):
    engine = any_version.engine(tiny.light())
    any_version.tensorrt.enqueue_failures = ["Cuda Runtime (an illegal memory access was encountered)"]
    with pytest.raises(BackendError, match=r"light\.onnx: TensorRT .* failed to enqueue a run: .*illegal memory"):
        engine.run({"x": tiny.mixed()}, ALL)
    equal(engine.run({"x": tiny.mixed()}, ALL), reference(tiny.light(), tiny.mixed()))
    engine.close()


def test_a_null_context_is_told_with_the_reason(any_version, tiny):
    any_version.tensorrt.null_contexts = True
    with pytest.raises(BackendError, match=r"cannot make an execution context: .*OutOfMemory"):
        any_version.engine(tiny.light())
    assert any_version.gpu.left_over() == {}


def test_close_twice_and_use_after_it(machine, tiny):
    engine = machine.engine(tiny.light())
    shared = engine.share({"x": tiny.mixed()})
    engine.close()
    engine.close()
    for use in (lambda: engine.run(shared, ALL), lambda: engine.share(shared), lambda: engine.run_shared(shared, ALL)):
        with pytest.raises(BackendError, match=r"light\.onnx: the engine is closed"):
            use()


def test_the_session_ends_with_its_last_engine(machine, tiny, reference):
    first, second = machine.engine(tiny.light()), machine.engine(tiny.heavy(), "heavy.onnx")
    assert machine.gpu.live["stream"] == machine.gpu.live["context"] == 1
    first.close()
    assert machine.gpu.live["context"] == 1
    second.close()
    assert machine.gpu.left_over() == {}
    assert machine.gpu.stack() == []
    third = machine.engine(tiny.light())
    equal(third.run({"x": tiny.mixed()}, ALL), reference(tiny.light(), tiny.mixed()))
    third.close()


def test_the_context_stack_is_left_as_it_was(machine, tiny):
    engine = machine.engine(tiny.light())
    assert machine.gpu.stack() == []
    engine.run({"x": tiny.mixed()}, ALL)
    with pytest.raises(BackendError):
        engine.run({"x": tiny.mixed()[:, :1]}, ALL)
    assert machine.gpu.stack() == []
    engine.close()


def test_another_thread_is_told_that_it_is_the_wrong_one(machine, tiny, reference):
    engine = machine.engine(tiny.light())
    told = []

    def use(action) -> None:
        try:
            action()
        except BackendError as error:
            told.append(str(error))

    for action in (lambda: engine.run({"x": tiny.mixed()}, ALL), engine.close):
        worker = threading.Thread(target=use, args=(action,), name="camera")
        worker.start()
        worker.join()
    assert len(told) == 2
    assert all("got a call from the thread camera, expected MainThread" in each for each in told)
    equal(engine.run({"x": tiny.mixed()}, ALL), reference(tiny.light(), tiny.mixed()))
    engine.close()
    assert machine.gpu.left_over() == {}


def test_each_thread_has_a_session_of_its_own(machine, tiny, reference):
    mine = machine.engine(tiny.light())
    answers = []

    def decide() -> None:
        engine = machine.engine(tiny.heavy(), "heavy.onnx")
        answers.extend(engine.run({"x": tiny.mixed()}, ("probabilities",)))
        engine.close()

    worker = threading.Thread(target=decide)
    worker.start()
    worker.join()
    equal(answers, reference(tiny.heavy(), tiny.mixed(), ("probabilities",)))
    mine.close()
    assert machine.gpu.left_over() == {}


@pytest.mark.parametrize(
    ("x", "reason"),
    [
        (np.zeros((1, 2, 2, 1), np.float32), r"got float32 \(1, 2, 2, 1\), expected uint8 \(1 to 8, 2, 2, 1\)"),
        (np.zeros((1, 3, 2, 1), np.uint8), r"got uint8 \(1, 3, 2, 1\), expected uint8"),
        (np.zeros((0, 2, 2, 1), np.uint8), r"got uint8 \(0, 2, 2, 1\), expected uint8"),
        (np.zeros((4,), np.uint8), r"got uint8 \(4,\), expected uint8"),
        (np.zeros((), np.uint8), r"got uint8 \(\), expected uint8"),
    ],
)
def test_an_input_that_does_not_fit_is_refused(machine, tiny, x, reason):
    engine = machine.engine(tiny.light())
    for use in (lambda: engine.run({"x": x}, ALL), lambda: engine.share({"x": x})):
        with pytest.raises(BackendError, match=rf"light\.onnx: x: {reason}"):
            use()
    engine.close()


def test_inputs_of_other_names_or_counts_are_refused(machine):
    engine = machine.engine(model(TWO))
    a, b = np.ones((2, 3), np.float32), np.ones((1, 2), np.float32)
    with pytest.raises(BackendError, match="got the inputs a, expected a, b"):
        engine.run({"a": a}, ("total",))
    with pytest.raises(BackendError, match="got inputs of 1 and 2 rows, expected one number"):
        engine.run({"a": a, "b": b}, ("total",))
    with pytest.raises(BackendError, match="no output nothing; it has total"):
        engine.run({"a": a, "b": b}, ("nothing",))
    engine.close()


def test_an_error_of_the_gpu_is_one_line_and_close_still_works(machine, tiny):
    engine = machine.engine(tiny.light())
    machine.gpu.fail_next_wait = "an illegal memory\naccess was encountered"
    with pytest.raises(
        BackendError, match=r"^CUDA failed: .*illegal memory access was encountered; start the program again[^\n]*$"
    ):
        engine.run({"x": tiny.mixed()}, ALL)
    machine.gpu.fail_next_wait = "still broken"
    with pytest.raises(BackendError, match="still broken"):
        engine.close()
    engine.close()
    assert machine.gpu.left_over() == {}


def test_a_kept_plan_that_the_library_refuses_is_built_anew_once(
    machine, tiny, tmp_path, caplog, monkeypatch, reference
):
    machine.engine(tiny.light()).close()
    built = len(machine.tensorrt.called("Builder.build_serialized_network"))
    refusals = [1]
    deserialize = machine.tensorrt.module.Runtime.deserialize_cuda_engine

    def refuse_once(self, data):
        return None if refusals and refusals.pop() else deserialize(self, data)

    monkeypatch.setattr(machine.tensorrt.module.Runtime, "deserialize_cuda_engine", refuse_once)
    engine = machine.engine(tiny.light())
    assert len(machine.tensorrt.called("Builder.build_serialized_network")) == built + 1
    assert "is built anew" in caplog.text
    equal(engine.run({"x": tiny.mixed()}, ALL), reference(tiny.light(), tiny.mixed()))
    engine.close()


def test_no_gpu_is_told_before_anything_is_built(machine, tiny):
    machine.gpu.no_gpu = True
    with pytest.raises(BackendError, match=r"there is no GPU to use: cuInit failed.*--backend onnxruntime"):
        machine.engine(tiny.light())
    assert machine.tensorrt.called("Builder.build_serialized_network") == []


def test_no_pycuda_is_told_with_its_install_command(machine, tiny, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pycuda.driver", None)
    with pytest.raises(MissingPackageError, match=r"pip install pycuda.*nvcc"):
        machine.engine(tiny.light())


def test_too_little_memory_is_told_with_what_is_free(machine, tiny):
    machine.gpu.free = 5000
    machine.tensorrt.activation_bytes = 100_000
    engine = machine.engine(tiny.light())
    with pytest.raises(BackendError, match=r"out of GPU memory: 100000 bytes were asked for, \d+ of \d+ are free"):
        engine.run({"x": tiny.mixed()}, ALL)
    engine.close()
    assert machine.gpu.left_over() == {}


def test_options_that_make_no_sense_are_refused(machine, tiny):
    with pytest.raises(InputError, match="got -1 CUDA graphs"):
        machine.engine(tiny.light(), graphs=-1)
    with pytest.raises(InputError, match="got the memory 'managed', expected auto, pinned or mapped"):
        machine.engine(tiny.light(), memory="managed")
    with pytest.raises(InputError, match="got 0 threads"):
        TensorRtEngine(Path("light.onnx"), 0)
    assert machine.gpu.left_over() == {}
