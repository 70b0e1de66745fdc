"""The CUDA session on a real GPU, and TensorRT where it serves it: skipped, with the reason, where there is none."""

from __future__ import annotations

import importlib

import numpy as np
import pytest

from agfedge_runtime.engines import OnnxRuntimeEngine
from agfedge_runtime.engines.tensorrt.build.options import BuildOptions
from agfedge_runtime.engines.tensorrt.run.cuda import open_cuda
from agfedge_runtime.engines.tensorrt.run.engine import TensorRtEngine
from agfedge_runtime.errors import AgfedgeError
from agfedge_runtime.machine.backends import serves_rtx
from agfedge_runtime.machine.gpus import find_gpus
from tensorrt_graphs import write_graph

pytestmark = pytest.mark.gpu


@pytest.fixture
def cuda():
    try:
        opened = open_cuda()
    except AgfedgeError as error:
        pytest.skip(str(error))
    yield opened
    opened.close()


@pytest.fixture(params=["tensorrt", "tensorrt_rtx"])
def library(request, cuda):
    try:
        importlib.import_module(request.param)
    except ImportError as error:
        pytest.skip(f"{request.param} cannot be imported: {error}")
    return request.param


@pytest.mark.parametrize("mapped", [False, True])
def test_copies_go_there_and_back(cuda, mapped):
    with cuda.active():
        device, source = cuda.device_memory(4096), cuda.host_memory(4096, mapped)
        target = cuda.host_memory(4096, mapped=False)
        source.array[:] = np.arange(4096) % 251
        cuda.upload(device.address, source.array)
        cuda.download(target.array, device.address)
        cuda.wait()
        np.testing.assert_array_equal(target.array, source.array)
        assert bool(source.address) == mapped
        for memory in (device, source, target):
            memory.free()


def test_a_captured_copy_runs_each_time_it_is_launched(cuda):
    with cuda.active():
        device, source = cuda.device_memory(64), cuda.host_memory(64, mapped=False)
        target = cuda.host_memory(64, mapped=False)

        def submit() -> None:
            cuda.upload(device.address, source.array)
            cuda.download(target.array, device.address)

        submit()
        cuda.wait()
        graph = cuda.graphs.capture(submit)
        for value in (1, 2, 3):
            source.array[:] = value
            graph.launch()
            cuda.wait()
            np.testing.assert_array_equal(target.array, value)
        graph.close()
        for memory in (device, source, target):
            memory.free()


def test_the_engine_answers_as_the_cpu_does(library, cuda, tmp_path):
    if library == "tensorrt_rtx" and not any(serves_rtx(gpu) for gpu in find_gpus().gpus):
        pytest.skip("TensorRT-RTX does not serve this GPU")
    path = write_graph(tmp_path)
    engine = TensorRtEngine(path, backend=library, build=BuildOptions("fp32"))
    x = np.random.default_rng(0).integers(0, 4, (5, 4), np.uint8)
    for _ in range(6):
        for batch in (x[:1], x):
            (wanted,) = OnnxRuntimeEngine(path).run({"x": batch}, ("y",))
            (found,) = engine.run(engine.share({"x": batch}), ("y",))
            np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert engine.graphs == 2 or engine.capture_failure
    engine.close()
