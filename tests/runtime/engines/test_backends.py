"""Backends: which one runs here and why, what is told of the choice, and ONNX Runtime's GPU providers."""

from __future__ import annotations

import dataclasses
import json
import logging
import sys
import types

import numpy as np
import onnx.parser
import onnxruntime
import pytest

from agfedge.account.account import account
from agfedge_runtime import Branch, Bundle, Cascade
from agfedge_runtime.bundle.bundle import write_bundle
from agfedge_runtime.bundle.manifest import Costs, Experts, Trunk
from agfedge_runtime.engines import BACKENDS, BackendChoice, OnnxRuntimeEngine, choose_backend, open_engine
from agfedge_runtime.errors import BackendError, MissingPackageError
from agfedge_runtime.machine.backends import Installed, judge
from agfedge_runtime.machine.gpus import Gpu, GpuSearch
from agfedge_runtime.machine.packages import Package, find_package, find_providers
from agfedge_runtime.profile.measure import measure
from fake_machine import FakeMachine

CPU, CUDA, TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"
NO_GPU = GpuSearch((), "", "no CUDA driver: libcuda.so.1: not found")


def gpu(*capability: int) -> GpuSearch:
    return GpuSearch((Gpu("a GPU", (capability[0], capability[1]), 8, 8000, False),), "12.6", "")


def installed(search: GpuSearch = NO_GPU, providers: tuple[str, ...] = (CPU,), **versions: str) -> Installed:
    """A machine with those packages (`onnxruntime` unless it is given as empty)."""
    found = {"onnxruntime": "1.23.0", **versions}

    def package(name: str) -> Package:
        version = found.get(name, "")
        return Package(name, version, "" if version else f"{name} is not installed")

    return Installed(package, lambda: providers, lambda: search)


# What is chosen.


@pytest.mark.parametrize(
    ("here", "backend"),
    [
        (installed(), "onnxruntime"),
        (installed(gpu(8, 7)), "onnxruntime"),
        (installed(gpu(8, 7), tensorrt="10.3.0"), "onnxruntime"),
        (installed(gpu(8, 7), pycuda="2024.1"), "onnxruntime"),
        (installed(tensorrt="10.3.0", pycuda="2024.1"), "onnxruntime"),
        (installed(gpu(8, 7), tensorrt="10.3.0", pycuda="2024.1"), "tensorrt"),
        (installed(gpu(8, 7), tensorrt="8.5.2.2", pycuda="2024.1"), "tensorrt"),
        (installed(gpu(8, 7), tensorrt="8.4.1", pycuda="2024.1"), "onnxruntime"),
        (installed(gpu(8, 7), tensorrt_rtx="1.2", pycuda="2024.1"), "onnxruntime"),
        (installed(gpu(9, 0), tensorrt_rtx="1.2", pycuda="2024.1"), "onnxruntime"),
        (installed(gpu(8, 9), tensorrt_rtx="1.2", pycuda="2024.1"), "tensorrt_rtx"),
        (installed(gpu(12, 0), tensorrt_rtx="1.2", pycuda="2024.1"), "tensorrt_rtx"),
        (installed(gpu(8, 9), tensorrt_rtx="1.2", tensorrt="10.3.0", pycuda="2024.1"), "tensorrt"),
        (installed(gpu(8, 9), (TENSORRT, CUDA, CPU)), "onnxruntime"),
        (installed(gpu(8, 7), onnxruntime="", tensorrt="10.3.0", pycuda="2024.1"), "tensorrt"),
    ],
)
def test_auto_takes_the_best_that_is_there(here, backend):
    choice = choose_backend("auto", here)
    assert (choice.backend, choice.automatic) == (backend, True)
    assert choice.verdicts[-1].usable
    assert len(choice.reason.splitlines()) == 1


def test_the_reason_says_what_stood_against_better_ones():
    assert choose_backend("auto", installed()).reason == (
        "ONNX Runtime 1.23.0 on the CPU; not tensorrt or tensorrt_rtx: no CUDA driver: libcuda.so.1: not found"
    )
    assert choose_backend("auto", installed(gpu(8, 7), tensorrt="8.4.1", pycuda="2024.1")).reason == (
        "ONNX Runtime 1.23.0 on the CPU; not tensorrt: got TensorRT 8.4.1, expected 8.5 or later; "
        "not tensorrt_rtx: it does not serve a GPU (compute capability 8.7)"
    )


def test_what_was_asked_for_is_taken_as_it_is():
    for backend in BACKENDS:
        choice = choose_backend(backend, installed())
        assert (choice.backend, choice.reason, choice.automatic) == (backend, "it was asked for", False)


def test_an_unknown_backend_is_told_the_known_ones():
    with pytest.raises(BackendError, match="'tpu', expected one of auto, onnxruntime, onnxruntime-cuda"):
        choose_backend("tpu")


def test_where_nothing_runs_every_reason_is_told():
    with pytest.raises(MissingPackageError, match="no backend can run here") as caught:
        choose_backend("auto", installed(gpu(8, 7), onnxruntime="", tensorrt="10.3.0"))
    said = str(caught.value)
    assert "not tensorrt: pycuda is not installed" in said
    assert "not onnxruntime: onnxruntime is not installed" in said
    assert said.endswith("pip install onnxruntime")


def test_without_a_gpu_no_gpu_package_is_imported():
    asked = []

    def package(name: str) -> Package:
        asked.append(name)
        return Package(name, "1.23.0", "")

    choose_backend("auto", Installed(package, lambda: (CPU,), lambda: NO_GPU))
    assert asked == ["onnxruntime"]


@pytest.mark.parametrize(
    ("backend", "here", "missing"),
    [
        ("onnxruntime", installed(onnxruntime=""), ("onnxruntime",)),
        ("onnxruntime-cuda", installed(gpu(8, 9), onnxruntime=""), ("onnxruntime-gpu",)),
        ("onnxruntime-cuda", installed(gpu(8, 9)), ("onnxruntime-gpu",)),
        ("onnxruntime-tensorrt", installed(gpu(8, 9), (CUDA, CPU)), ("onnxruntime-gpu",)),
        ("onnxruntime-cuda", installed(NO_GPU, (CUDA, CPU)), ()),
        ("tensorrt", installed(gpu(8, 9)), ("tensorrt", "pycuda")),
        ("tensorrt_rtx", installed(gpu(8, 9), tensorrt_rtx="1.2"), ("pycuda",)),
        ("tensorrt_rtx", installed(gpu(8, 7)), ()),
    ],
)
def test_a_backend_that_cannot_run_says_what_is_missing(backend, here, missing):
    verdict = judge(backend, here)
    assert (verdict.usable, verdict.missing) == (False, missing)
    assert verdict.reason


@pytest.mark.parametrize(("backend", "provider"), [("onnxruntime-cuda", CUDA), ("onnxruntime-tensorrt", TENSORRT)])
def test_a_provider_that_is_there_is_usable(backend, provider):
    verdict = judge(backend, installed(gpu(8, 9), (provider, CPU)))
    assert verdict.usable
    assert provider in verdict.reason


def test_packages_are_found_as_they_are():
    assert find_package("numpy") == Package("numpy", np.__version__, "")
    assert find_package("agfedge_runtime.nowhere").problem == "agfedge_runtime.nowhere is not installed"
    assert find_providers() == tuple(onnxruntime.get_available_providers())
    assert find_providers(lambda name: types.ModuleType(name)) == ()


# What is told of it.


def test_a_cascade_says_why_and_logs_it_once(tiny, caplog):
    with caplog.at_level(logging.INFO, "agfedge_runtime"), Cascade.open(tiny.bundle()) as cascade:
        assert cascade.backend == "onnxruntime"
        assert cascade.backend_reason.startswith(f"ONNX Runtime {onnxruntime.__version__} on the CPU")
    logged = [record.getMessage() for record in caplog.records if record.name == "agfedge_runtime.engines"]
    assert logged == [f"backend onnxruntime: {cascade.backend_reason}"]


def test_a_choice_made_before_is_kept(tiny):
    with Cascade.open(tiny.bundle(), BackendChoice("onnxruntime", "we said so", automatic=False)) as cascade:
        assert (cascade.backend, cascade.backend_reason) == ("onnxruntime", "we said so")


def test_samples_and_the_account_hold_the_backend_and_the_reason(tiny):
    with Cascade.open(tiny.bundle(), "onnxruntime") as cascade:
        samples = measure(cascade, tiny.mixed(), decisions=12, warmup=0)
    document = json.loads(samples.to_json())
    assert (document["backend"], document["environment"]["backend_reason"]) == ("onnxruntime", "it was asked for")
    found = account(samples, None)
    assert (found.backend, found.environment["backend_reason"]) == ("onnxruntime", "it was asked for")


# ONNX Runtime's GPU providers. No test machine has them all: here sessions say what they would be served by.


class Recorded:
    """ONNX Runtime as it would be with other providers; sessions compute on the CPU."""

    def __init__(self, monkeypatch, available, served=None, version=onnxruntime.__version__) -> None:
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.fallback: list[object] = []
        self.sessions: list[object] = []
        recorded = self

        class Session:
            def __init__(self, model, options, providers, enable_fallback) -> None:
                recorded.asked = providers
                recorded.fallback.append(enable_fallback)
                self._session = onnxruntime.InferenceSession(model, options, providers=[CPU])
                self.fallback_disabled = False
                recorded.sessions.append(self)

            def run(self, names, feeds):
                return self._session.run(names, feeds)

            def get_inputs(self) -> list[object]:
                return self._session.get_inputs()

            def get_outputs(self) -> list[object]:
                return self._session.get_outputs()

            def get_providers(self) -> list[str]:
                return [name for name, _ in recorded.asked] if served is None else list(served)

            def disable_fallback(self) -> None:
                self.fallback_disabled = True

        module = types.ModuleType("onnxruntime")
        module.__version__ = version
        module.SessionOptions = onnxruntime.SessionOptions
        module.get_available_providers = lambda: list(available)
        module.InferenceSession = Session
        monkeypatch.setitem(sys.modules, "onnxruntime", module)


@pytest.mark.parametrize(
    ("backend", "providers"),
    [
        ("onnxruntime", [CPU]),
        ("onnxruntime-cuda", [CUDA, CPU]),
        ("onnxruntime-tensorrt", [TENSORRT, CUDA, CPU]),
    ],
)
def test_a_backend_asks_for_its_providers_best_first(tiny, monkeypatch, backend, providers):
    recorded = Recorded(monkeypatch, [TENSORRT, CUDA, CPU])
    engine = open_engine(tiny.bundle().file("light.onnx"), backend)
    (prior,) = engine.run({"x": tiny.rows((0, 0, 51, 0))}, ("prior",))
    assert (engine.name, prior.item()) == (backend, pytest.approx(0.2))
    assert [name for name, _ in recorded.asked] == providers
    assert (recorded.fallback, recorded.sessions[0].fallback_disabled) == ([0], True)


@pytest.mark.parametrize(("version", "option"), [("1.23.2", "0"), ("1.18.0", "0"), ("1.17.3", None)])
def test_cuda_computes_in_float32_where_that_can_be_asked_for(tiny, monkeypatch, version, option):
    recorded = Recorded(monkeypatch, [CUDA, CPU], version=version)
    open_engine(tiny.bundle().file("light.onnx"), "onnxruntime-cuda").run({"x": tiny.mixed()}, ("prior",))
    assert dict(recorded.asked)[CUDA].get("use_tf32") == option


def test_a_cascade_runs_on_a_provider(tiny, monkeypatch):
    with tiny.cascade() as cascade:
        expected = cascade(tiny.mixed())
    Recorded(monkeypatch, [CUDA, CPU])
    with Cascade.open(tiny.bundle(), "onnxruntime-cuda") as cascade:
        assert (cascade.backend, cascade.backend_reason) == ("onnxruntime-cuda", "it was asked for")
        np.testing.assert_array_equal(cascade(tiny.mixed()).labels, expected.labels)


def test_a_provider_that_this_build_lacks_is_told(tiny):
    with pytest.raises(BackendError, match=f"expected {CUDA} for the backend onnxruntime-cuda: .*onnxruntime-gpu"):
        OnnxRuntimeEngine(tiny.bundle().file("light.onnx"), backend="onnxruntime-cuda")


def test_a_provider_whose_libraries_are_missing_is_no_silent_cpu(tiny, monkeypatch):
    Recorded(monkeypatch, [CUDA, CPU], served=[CPU])
    with pytest.raises(BackendError, match=f"took {CPU} instead of {CUDA}"):
        open_engine(tiny.bundle().file("light.onnx"), "onnxruntime-cuda")


def test_what_an_incomplete_removal_left_is_told(tiny, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", types.ModuleType("onnxruntime"))
    with pytest.raises(MissingPackageError, match=r"an empty folder here: .*pip install"):
        open_engine(tiny.bundle().file("light.onnx"), "onnxruntime")


# TensorRT, on a fake device.


# The tiny bundle's experts, with what they share in a graph of its own.
_HEAD = '<ir_version: 10, opset_import: ["": 20]> g '
_SHARED = {
    "trunk.onnx": """(uint8[N,2,2,1] x) => (float[N,4] features) <float full = {255.0}>
      { flat = Flatten<axis=1>(x) bytes = Cast<to=1>(flat) features = Div(bytes, full) }""",
    "prior.onnx": """(float[N,4] features) => (float[N] prior) <int64 two = {2}>
      { prior = Gather<axis=1>(features, two) }""",
    "light.onnx": """(float[N,4] features) => (float[N,2] probabilities, float[N] confidence)
      <float[4,2] weight = {1.0, -1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0}, float[2] base = {0.0, 1.0}, int64[1] last = {1}>
      { picked = MatMul(features, weight) probabilities = Add(picked, base)
        confidence = ReduceMax<keepdims=0>(probabilities, last) }""",
    "heavy.onnx": """(float[N,4] features) => (float[N,2] probabilities)
      <float[4,2] weight = {0.0, 0.0, 1.0, -1.0, 0.0, 0.0, 0.0, 0.0}, float[2] base = {0.0, 1.0}>
      { picked = MatMul(features, weight) probabilities = Add(picked, base) }""",
}


@pytest.fixture
def shared_bundle(tiny):
    """Writes the bundle with a trunk; `thresholds` go to the manifest."""

    def write(**thresholds: float | None) -> Bundle:
        plain = tiny.manifest(**thresholds)
        experts = Experts(plain.experts.light, plain.experts.heavy, Trunk("trunk.onnx", 40, 4, ("features",)))
        full = dataclasses.replace(plain.precisions["fp32"], experts=experts)
        costs = Costs(0.1, 0.01, trunk=0.5, heavy=0.5)
        manifest = dataclasses.replace(plain, precisions={"fp32": full}, costs=costs)
        files = {name: onnx.parser.parse_model(_HEAD + text).SerializeToString() for name, text in _SHARED.items()}
        return write_bundle(tiny.folder / "shared", manifest, files)

    return write


@pytest.fixture
def device(monkeypatch, tmp_path) -> FakeMachine:
    return FakeMachine(monkeypatch, tmp_path)


def chosen() -> BackendChoice:
    """What `auto` takes on a Jetson with what the fakes put there."""
    return choose_backend("auto", Installed(gpus=lambda: gpu(8, 7)))


@pytest.mark.parametrize("prior", [0.5, None])
@pytest.mark.parametrize("trunk", [False, True])
def test_tensorrt_decides_as_onnx_runtime_does(tiny, device, shared_bundle, trunk, prior):
    bundle = shared_bundle(prior=prior) if trunk else tiny.bundle(prior=prior)
    x = np.concatenate([tiny.mixed()] * 3)
    with Cascade.open(bundle, "onnxruntime") as cpu, Cascade.open(bundle, chosen()) as cascade:
        assert cascade.backend == "tensorrt"
        assert cascade.backend_reason == "tensorrt 10.3.0.0 and pycuda 2025.1.2 on a GPU (compute capability 8.7)"
        for batch in (x, x[:6], *(x[row : row + 1] for row in range(6))):
            found, expected = cascade(batch), cpu(batch)
            for name in ("labels", "branches", "prior", "confidence", "probabilities"):
                np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=name)
        if prior is not None:
            np.testing.assert_array_equal(cascade.prior(x[:6]), cpu.prior(x[:6]))
        for name, value in cascade.trunk(x[:2]).items():
            np.testing.assert_array_equal(value, cpu.trunk(x[:2])[name])
    assert device.gpu.left_over() == {}


@pytest.mark.parametrize("trunk", [False, True])
def test_a_decision_copies_its_input_to_the_gpu_once(tiny, device, shared_bundle, trunk):
    late = tiny.rows((130, 7, 20, 0))
    with Cascade.open(shared_bundle() if trunk else tiny.bundle(), chosen()) as cascade:
        cascade(late)
        device.gpu.copies["htod"].clear()
        enqueued = len(device.tensorrt.called("IExecutionContext.execute_async_v3"))
        decisions = cascade(late)
        assert decisions.branches.tolist() == [2]
        assert device.gpu.copies["htod"] == [4], "four bytes of input, and no features"
        runs = len(device.tensorrt.called("IExecutionContext.execute_async_v3")) - enqueued
        assert runs == 3 + trunk, "each graph runs once: trunk, prior, light, heavy"


def test_an_early_escalation_does_not_run_the_light_expert(tiny, device):
    early = tiny.rows((0, 0, 255, 0))
    with Cascade.open(tiny.bundle(), chosen()) as cascade:
        cascade(early)
        enqueued = len(device.tensorrt.called("IExecutionContext.execute_async_v3"))
        copied = len(device.gpu.copies["htod"])
        decisions = cascade(early)
        assert decisions.branches.tolist() == [Branch.EARLY]
        assert len(device.tensorrt.called("IExecutionContext.execute_async_v3")) - enqueued == 2, "prior and heavy"
        assert len(device.gpu.copies["htod"]) - copied == 1, "one copy of the input serves both"
    assert device.gpu.left_over() == {}


def test_a_prior_that_nothing_asks_for_is_not_built(tiny, device):
    with Cascade.open(tiny.bundle(prior=None), chosen()):
        pass
    assert len(device.tensorrt.called("Builder.build_serialized_network")) == 2


def test_an_engine_that_fails_says_what_chose_it(tiny, device):
    device.tensorrt.refused_operators = {"MatMul"}
    with pytest.raises(BackendError, match="tensorrt was chosen since it is the best that is here, the backend onnx"):
        Cascade.open(tiny.bundle(), chosen())
    with pytest.raises(BackendError) as caught:
        Cascade.open(tiny.bundle(), "tensorrt")
    assert "was chosen" not in str(caught.value)


def test_an_fp32_bundle_is_not_run_in_fp16(tiny, device):
    with Cascade.open(tiny.bundle(), chosen()):
        pass
    flags = [str(arguments[0]) for arguments in device.tensorrt.called("IBuilderConfig.set_flag")]
    assert "BuilderFlag.FP16" not in flags


@pytest.mark.gpu
def test_the_cuda_provider_decides_as_the_cpu_does(tiny):
    verdict = judge("onnxruntime-cuda", Installed())
    if not verdict.usable:
        pytest.skip(f"ONNX Runtime's CUDA provider cannot run here: {verdict.reason}")
    bundle = tiny.bundle()
    with Cascade.open(bundle, "onnxruntime") as cpu, Cascade.open(bundle, "onnxruntime-cuda") as cascade:
        found, expected = cascade(tiny.mixed()), cpu(tiny.mixed())
    np.testing.assert_array_equal(found.branches, expected.branches)
    np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=1e-6)
