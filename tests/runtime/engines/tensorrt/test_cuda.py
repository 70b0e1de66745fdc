"""The CUDA session: one context and stream a thread, nothing left on the context stack, captures that end well."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from agfedge_runtime.engines.tensorrt.run import driver
from agfedge_runtime.engines.tensorrt.run.cuda import open_cuda
from agfedge_runtime.engines.tensorrt.run.driver import CaptureError
from agfedge_runtime.errors import BackendError, MissingPackageError
from fake_pycuda import Context, LogicError


@pytest.fixture
def cuda(gpu):
    opened = open_cuda()
    yield opened
    opened.close()
    assert gpu.left_over() == {}


def test_a_thread_has_one_session_for_all(gpu):
    first, second = open_cuda(), open_cuda()
    assert first is second
    assert gpu.live["stream"] == 1
    first.close()
    assert gpu.live["stream"] == 1
    second.close()
    assert gpu.left_over() == {}
    third = open_cuda()
    assert third is not first
    third.close()


def test_the_stream_is_its_own(gpu, cuda):
    assert gpu.stream(cuda.stream).flags == 1, "it does not wait for the default stream"


def test_the_context_is_current_inside_of_active_alone(gpu, cuda):
    with pytest.raises(LogicError, match="no currently active context"):
        cuda.device_memory(16)
    with cuda.active():
        with cuda.active():
            assert len(gpu.stack()) == 1
        cuda.device_memory(16).free()
    assert gpu.stack() == []


def test_a_context_of_somebody_else_comes_back(gpu):
    theirs = Context(gpu)
    theirs.push()
    cuda = open_cuda()
    with cuda.active():
        assert gpu.stack()[-1] is not theirs
    assert gpu.stack() == [theirs]
    cuda.close()
    assert gpu.stack() == gpu.driver_stack() == [theirs]


def test_an_error_leaves_the_stack_as_it_was(gpu, cuda):
    with pytest.raises(ZeroDivisionError), cuda.active():
        raise ZeroDivisionError
    told = r"^CUDA failed: cuMemFree failed: invalid argument; start the program again$"
    with pytest.raises(BackendError, match=told), cuda.active():
        raise LogicError("cuMemFree failed:\n  invalid argument")
    assert gpu.stack() == []


def test_another_thread_is_refused(cuda):
    told = []

    def use() -> None:
        try:
            with cuda.active():
                told.append("entered")
        except BackendError as error:
            told.append(str(error))

    thread = threading.Thread(target=use, name="other")
    thread.start()
    thread.join()
    assert told == [
        "got a call from the thread other, expected MainThread, which opened the engine: a GPU's engines belong to one "
        "thread; open a cascade in each thread that decides"
    ]


def test_memory_is_copied_in_the_order_of_the_stream(cuda):
    with cuda.active():
        device, host = cuda.device_memory(8), cuda.host_memory(8, mapped=False)
        host.array[:] = range(8)
        cuda.upload(device.address, host.array)
        cuda.wait()
        host.array[:] = 0
        cuda.download(host.array[:3], device.address + 2)
        np.testing.assert_array_equal(host.array, 0)
        cuda.wait()
        np.testing.assert_array_equal(host.array[:4], [2, 3, 4, 0])
        for memory in (device, host):
            memory.free()
            memory.free()
    assert cuda.waits == 2


def test_mapped_memory_has_an_address_and_pinned_memory_has_none(gpu, cuda):
    with cuda.active():
        mapped, pinned = cuda.host_memory(4, mapped=True), cuda.host_memory(4, mapped=False)
        mapped.array[:] = 7
        np.testing.assert_array_equal(gpu.span(mapped.address, 4), 7)
        assert pinned.address == 0
        mapped.free()
        pinned.free()


@pytest.mark.parametrize("kind", ["device", "host"])
def test_no_memory_left_is_told_in_bytes(gpu, cuda, kind):
    gpu.free = 100
    told = r"out of GPU memory: 101 bytes were asked for, 100 of \d+ are free; close"
    with pytest.raises(BackendError, match=told), cuda.active():
        cuda.device_memory(101) if kind == "device" else cuda.host_memory(101, mapped=True)


def test_scratch_grows_and_never_shrinks(gpu, cuda):
    with cuda.active():
        cuda.scratch.reserve(cuda, 1000)
        first = cuda.scratch.address
        cuda.scratch.reserve(cuda, 500)
        assert (cuda.scratch.address, cuda.scratch.nbytes) == (first, 1000)
        cuda.scratch.reserve(cuda, 2000)
        assert cuda.scratch.address != first
        assert gpu.live["device"] == 1


def test_captured_work_runs_when_it_is_launched(gpu, cuda):
    with cuda.active():
        device, host = cuda.device_memory(4), cuda.host_memory(4, mapped=False)
        host.array[:] = 5
        graph = cuda.graphs.capture(lambda: cuda.upload(device.address, host.array))
        cuda.wait()
        np.testing.assert_array_equal(gpu.span(device.address, 4), 0xCD)
        graph.launch()
        cuda.wait()
        np.testing.assert_array_equal(gpu.span(device.address, 4), 5)
        gpu.refuse.add("cuGraphLaunch")
        with pytest.raises(BackendError, match="cuGraphLaunch failed: CUDA_ERROR_NOT_SUPPORTED"):
            graph.launch()
        graph.close()
        graph.close()
        device.free()
        host.free()


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        ("cuStreamBeginCapture_v2", "cuStreamBeginCapture_v2 failed: CUDA_ERROR_NOT_SUPPORTED"),
        ("cuStreamEndCapture", "the work cannot be captured: CUDA_ERROR_NOT_SUPPORTED"),
        ("cuGraphInstantiateWithFlags", "cuGraphInstantiateWithFlags failed: CUDA_ERROR_NOT_SUPPORTED"),
    ],
)
def test_a_capture_that_fails_leaves_a_usable_stream(gpu, cuda, step, reason):
    gpu.refuse.add(step)
    with cuda.active():
        with pytest.raises(CaptureError, match=reason):
            cuda.graphs.capture(lambda: None)
        cuda.wait()
        gpu.refuse.clear()
        cuda.graphs.capture(lambda: None).close()


def test_work_that_waits_cannot_be_captured(cuda):
    with cuda.active():
        with pytest.raises(CaptureError, match="operation not permitted when stream is capturing"):
            cuda.graphs.capture(cuda.wait)
        cuda.wait()


def test_a_driver_without_graphs_is_told(gpu, cuda, monkeypatch):
    gpu.missing.add("cuGraphInstantiateWithFlags")
    with cuda.active(), pytest.raises(CaptureError, match=r"the driver library has no graphs: .*InstantiateWithFlags"):
        cuda.graphs.capture(lambda: None)

    def no_library() -> object:
        raise OSError("libcuda.so.1: cannot open shared object file")

    with monkeypatch.context() as without:
        without.setattr(driver, "load_driver", no_library)
        with cuda.active(), pytest.raises(CaptureError, match="no graphs: libcuda"):
            cuda.graphs.capture(lambda: None)


def test_no_gpu_is_told(gpu):
    gpu.no_gpu = True
    with pytest.raises(BackendError, match="there is no GPU to use: cuInit failed: no CUDA-capable device is detected"):
        open_cuda()


def test_no_pycuda_is_told_with_the_command_that_installs_it(gpu, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pycuda.driver", None)
    with pytest.raises(MissingPackageError, match=r"pycuda cannot be imported .*pip install pycuda"):
        open_cuda()
