"""Where inputs and outputs lie: what is chosen, and that copies never meet what is still under way."""

from __future__ import annotations

import numpy as np
import pytest

from agfedge_runtime.engines.tensorrt.run.buffers import Buffer, choose_memory
from agfedge_runtime.engines.tensorrt.run.cuda import open_cuda
from agfedge_runtime.errors import InputError
from fake_machine import FakeMachine


@pytest.fixture
def cuda(gpu):
    opened = open_cuda()
    with opened.active():
        yield opened
    opened.close()
    assert gpu.left_over() == {}


def never(kind: str) -> float:
    raise AssertionError("nothing is to be measured")


@pytest.mark.parametrize(
    ("wish", "integrated", "kind", "reason"),
    [
        ("pinned", True, "pinned", "asked for"),
        ("mapped", False, "mapped", "asked for"),
        ("auto", False, "pinned", "the GPU has memory of its own"),
    ],
)
def test_what_needs_no_measurement_is_not_measured(wish, integrated, kind, reason):
    choice = choose_memory(wish, integrated, never)
    assert (choice.kind, choice.reason, choice.pinned_us, choice.mapped_us) == (kind, reason, (), ())


@pytest.mark.parametrize(("pinned_us", "mapped_us", "kind"), [(90.0, 50.0, "mapped"), (50.0, 90.0, "pinned")])
def test_an_integrated_gpu_takes_what_is_quicker(pinned_us, mapped_us, kind):
    asked = []

    def run_us(memory: str) -> float:
        asked.append(memory)
        # The first runs of each are slow, and so is one in the middle: neither decides.
        slow = len(asked) in (1, 2, 20)
        return 1e6 if slow else {"pinned": pinned_us, "mapped": mapped_us}[memory]

    choice = choose_memory("auto", True, run_us)
    assert choice.kind == kind
    assert choice.reason == f"measured: pinned {pinned_us:.0f} us, mapped {mapped_us:.0f} us a run (medians of 15)"
    assert (len(choice.pinned_us), len(choice.mapped_us)) == (15, 15)
    assert asked == ["pinned", "mapped"] * 18


def test_an_unknown_wish_is_refused():
    with pytest.raises(InputError, match="got the memory 'unified', expected auto, pinned or mapped"):
        choose_memory("unified", True, never)


@pytest.mark.parametrize("kind", ["pinned", "mapped"])
def test_what_is_filled_is_fetched(gpu, cuda, kind):
    buffer = Buffer(cuda, 64, kind)
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    buffer.fill(array)
    cuda.wait()
    np.testing.assert_array_equal(gpu.span(buffer.address, 24).view(np.float32), array.ravel())
    buffer.fetch(24)
    cuda.wait()
    found = buffer.read(24, np.dtype(np.float32), (2, 3))
    np.testing.assert_array_equal(found, array)
    assert found.base is None, "it belongs to the caller"
    buffer.close()
    buffer.close()


def test_mapped_memory_is_never_copied(gpu, cuda):
    buffer = Buffer(cuda, 8, "mapped")
    buffer.fill(np.ones(2, np.float32))
    buffer.fetch(8)
    cuda.wait()
    assert gpu.copies == {"htod": [], "dtoh": []}
    buffer.close()


def test_an_output_has_no_memory_on_the_host_until_it_is_fetched(gpu, cuda):
    buffer = Buffer(cuda, 8, "pinned")
    assert gpu.live["pinned"] == 0
    buffer.fetch(8)
    buffer.fetch(8)
    assert gpu.made["pinned"] == 1
    cuda.wait()
    buffer.close()


@pytest.mark.parametrize("kind", ["pinned", "mapped"])
def test_filling_waits_for_work_that_still_reads(gpu, cuda, kind):
    buffer, seen = Buffer(cuda, 4, kind), []
    stream = gpu.stream(cuda.stream)
    for value in (1, 2, 3):
        buffer.fill(np.full(4, value, np.uint8))
        stream.submit(lambda: seen.append(int(gpu.span(buffer.address, 4)[0])))
        buffer.busy_since = cuda.waits
    cuda.wait()
    assert seen == [1, 2, 3]
    assert cuda.waits == 3
    buffer.close()


def test_filling_does_not_wait_where_nothing_is_under_way(cuda):
    buffer = Buffer(cuda, 4, "pinned")
    for value in range(3):
        buffer.fill(np.full(4, value, np.uint8))
        cuda.wait()
    assert cuda.waits == 3
    buffer.close()


def test_writes_are_counted(cuda):
    buffer = Buffer(cuda, 4, "pinned")
    counts = [buffer.writes]
    for _ in range(2):
        buffer.fill(np.zeros(4, np.uint8))
        counts.append(buffer.writes)
    assert counts == [0, 1, 2]
    assert buffer.is_open
    cuda.wait()
    buffer.close()
    assert not buffer.is_open


def test_both_kinds_are_tried_on_the_engine_itself_and_one_is_kept(monkeypatch, tmp_path, tiny):
    machine = FakeMachine(monkeypatch, tmp_path, integrated=True)
    engine = machine.engine(tiny.light())
    assert engine.memory.reason.startswith("measured: pinned ")
    assert len(engine.memory.pinned_us) == len(engine.memory.mapped_us) == 15
    kinds = {kind: machine.gpu.live[kind] > 0 for kind in ("device", "mapped")}
    # The scratch memory is the device's in either case.
    assert kinds == {"device": True, "mapped": engine.memory.kind == "mapped"}
    engine.close()
    assert machine.gpu.left_over() == {}
