"""A GPU made of host memory, behind the names of pycuda and the driver library: what is submitted runs when waited for.

So a copy that is read before the wait, a buffer that is written while a copy from it is under way, memory that was
freed, a call without a current context or from another thread, and a captured graph whose execution context changed
afterwards are all seen. `FakeGpu` counts what is alive and records every call.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import gc
import sys
import threading
import weakref
from collections.abc import Callable
from types import ModuleType

import numpy as np
import numpy.typing as npt
import pytest

Bytes = npt.NDArray[np.uint8]
Operation = Callable[[], None]

THREAD_LOCAL = 1
DEVICEMAP = 2
INVALIDATED, NOT_SUPPORTED, OUT_OF_MEMORY = 901, 801, 2


class Error(Exception):
    """pycuda.driver.Error."""


class LogicError(Error):
    """pycuda.driver.LogicError."""


class MemoryError(Error):  # noqa: A001 - pycuda's name
    """pycuda.driver.MemoryError."""


class Memory:
    """One live allocation on the GPU, or mapped into it."""

    def __init__(self, gpu: FakeGpu, nbytes: int, kind: str) -> None:
        self.gpu, self.nbytes, self.kind = gpu, nbytes, kind
        self.bytes: Bytes = np.full(nbytes, 0xCD, np.uint8)
        self.address = gpu.place(self)

    def free(self) -> None:
        self.gpu.require_current("free")
        self.gpu.forget(self)


class DeviceAllocation(Memory):
    """pycuda.driver.DeviceAllocation."""

    def __int__(self) -> int:
        return self.address


class HostAllocation(Memory):
    """pycuda.driver.PagelockedHostAllocation; an array made from it has it as its base."""

    def __init__(self, gpu: FakeGpu, nbytes: int, mapped: bool) -> None:
        super().__init__(gpu, nbytes, "mapped" if mapped else "pinned")

    @property
    def __array_interface__(self) -> dict[str, object]:
        return self.bytes.__array_interface__

    def get_device_pointer(self) -> int:
        if self.kind != "mapped":
            raise LogicError("cuMemHostGetDevicePointer failed: invalid argument")
        return self.address


class Stream:
    """pycuda.driver.Stream."""

    def __init__(self, gpu: FakeGpu, flags: int) -> None:
        self.gpu, self.flags = gpu, flags
        # Weakly: the stream ends with pycuda's last reference to it.
        self.handle = gpu.new_handle(weakref.ref(self))
        self.pending: list[Operation] = []
        self.captured: list[Operation] | None = None
        self.capture_is_sound = True
        gpu.live["stream"] += 1

    def submit(self, operation: Operation) -> None:
        (self.pending if self.captured is None else self.captured).append(operation)

    def synchronize(self) -> None:
        self.gpu.require_current("cuStreamSynchronize")
        if self.captured is not None:
            self.capture_is_sound = False
            raise LogicError("cuStreamSynchronize failed: operation not permitted when stream is capturing")
        if self.gpu.fail_next_wait:
            message, self.gpu.fail_next_wait = self.gpu.fail_next_wait, ""
            self.pending.clear()
            raise LogicError(f"cuStreamSynchronize failed: {message}")
        pending, self.pending = self.pending, []
        for operation in pending:
            operation()
        self.gpu.waits += 1

    def run_until(self, last: Operation) -> None:
        """Do what was submitted up to an operation."""
        while self.pending:
            operation = self.pending.pop(0)
            operation()
            if operation == last:
                return

    def __del__(self) -> None:
        self.gpu.live["stream"] -= 1


class Event:
    """pycuda.driver.Event: a moment in a stream's work, known once the stream has come to it."""

    def __init__(self, gpu: FakeGpu, flags: int = 0) -> None:
        gpu.require_current("cuEventCreate")
        self.gpu = gpu
        self._stream: Stream | None = None
        self._at_us: float | None = None
        gpu.live["event"] += 1

    def record(self, stream: Stream) -> Event:
        self.gpu.require_current("cuEventRecord")
        self._stream, self._at_us = stream, None
        stream.submit(self._come)
        return self

    def synchronize(self) -> Event:
        self.gpu.require_current("cuEventSynchronize")
        if self._stream is not None and self._at_us is None:
            self._stream.run_until(self._come)
        return self

    def time_till(self, later: Event) -> float:
        """Milliseconds."""
        self.gpu.require_current("cuEventElapsedTime")
        if self._stream is None or later._stream is None:
            raise LogicError("cuEventElapsedTime failed: invalid resource handle")
        if self._at_us is None or later._at_us is None:
            raise LogicError("cuEventElapsedTime failed: device not ready")
        return (later._at_us - self._at_us) / 1e3

    def _come(self) -> None:
        self._at_us = self.gpu.now_us

    def __del__(self) -> None:
        if hasattr(self, "_at_us"):
            self.gpu.live["event"] -= 1


class Context:
    """pycuda.driver.Context of the primary context."""

    def __init__(self, gpu: FakeGpu) -> None:
        self.gpu, self.thread, self.valid = gpu, threading.get_ident(), True
        gpu.live["context"] += 1

    def push(self) -> None:
        assert self.valid, "a detached context was pushed"
        if self.gpu.stack():
            self.gpu.driver_stack().pop()
        self.gpu.driver_stack().append(self)
        self.gpu.stack().append(self)

    def pop(self) -> None:
        if not self.gpu.stack():
            raise LogicError("context::pop failed: invalid device context - cannot pop non-current context")
        self.gpu.driver_stack().pop()
        self.gpu.stack().pop()
        if self.gpu.stack():
            self.gpu.driver_stack().append(self.gpu.stack()[-1])

    def detach(self) -> None:
        """As pycuda does: what it pushes on the driver's stack to release a primary context stays there."""
        assert self.valid, "a context was detached twice"
        self.valid = False
        self.gpu.live["context"] -= 1
        stack = self.gpu.stack()
        if stack and stack[-1] is self:
            stack.pop()
            self.gpu.driver_stack().extend(stack[-1:])
        else:
            self.gpu.driver_stack().append(self)


class FakeGpu:
    """The machine.

    Args:
        integrated: whether CPU and GPU share their memory.
        free: bytes that can be allocated.

    Attributes:
        live: how many of each kind are alive.
        made: how many allocations of each kind were ever made.
        copies: bytes of every copy that was submitted, by direction.
        waits: how often a stream was waited for.
        launches: how many graphs were launched.
        refuse: steps of a capture to refuse: names of the driver library's functions.
        missing: functions that the driver library does not have.
        no_gpu: whether pycuda's init fails.
        fail_next_wait: what the next wait reports, if anything.
        now_us: its own clock, which copies and runs move on.
        copy_us: how long a copy takes.
        compute_us: how long a run of an engine takes.
    """

    def __init__(self, integrated: bool = False, free: int = 1 << 30) -> None:
        self.integrated, self.free = integrated, free
        kinds = ("device", "pinned", "mapped", "stream", "context", "graph", "graph_exec", "event")
        self.live = dict.fromkeys(kinds, 0)
        self.now_us, self.copy_us, self.compute_us = 0.0, 2.0, 100.0
        self.made = dict.fromkeys(("device", "pinned", "mapped", "graph_exec"), 0)
        self.copies: dict[str, list[int]] = {"htod": [], "dtoh": []}
        self.waits = self.launches = 0
        self.refuse: set[str] = set()
        self.missing: set[str] = set()
        self.no_gpu = False
        self.fail_next_wait = ""
        self._stacks: dict[int, list[Context]] = {}
        self._driver_stacks: dict[int, list[Context]] = {}
        self._memory: dict[int, Memory] = {}
        self._handles: dict[int, object] = {}
        self._next_address, self._next_handle = 0x7000_0000_0000, 0x1000

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Put pycuda and the driver library in place."""
        package, driver = ModuleType("pycuda"), self._driver_module()
        package.driver = driver  # type: ignore[attr-defined]
        package.VERSION_TEXT = "2025.1.2"  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "pycuda", package)
        monkeypatch.setitem(sys.modules, "pycuda.driver", driver)
        monkeypatch.setattr("agfedge_runtime.engines.tensorrt.run.driver.load_driver", lambda: DriverLibrary(self))

    def stack(self) -> list[Context]:
        """This thread's stack of contexts, as pycuda keeps it."""
        return self._stacks.setdefault(threading.get_ident(), [])

    def driver_stack(self) -> list[Context]:
        """The same as the driver has it: what pycuda pushes hides what was current before."""
        return self._driver_stacks.setdefault(threading.get_ident(), [])

    def require_current(self, what: str) -> None:
        stack = self.stack()
        if not stack:
            raise LogicError(f"{what} failed: invalid device context - no currently active context?")
        assert self.driver_stack()[-1] is stack[-1], "pycuda and the driver disagree on which context is current"
        if stack[-1].thread != threading.get_ident():
            raise LogicError(f"{what} failed: cannot activate out-of-thread context")

    def place(self, memory: Memory) -> int:
        if memory.nbytes > self.free:
            raise MemoryError("cuMemAlloc failed: out of memory")
        self.free -= memory.nbytes
        address = self._next_address
        self._next_address += (memory.nbytes + 511) // 256 * 256
        self._memory[address] = memory
        self.live[memory.kind] += 1
        self.made[memory.kind] += 1
        return address

    def forget(self, memory: Memory) -> None:
        if self._memory.pop(memory.address, None) is None:
            raise LogicError("cuMemFree failed: invalid argument")
        self.free += memory.nbytes
        self.live[memory.kind] -= 1

    def span(self, address: int, nbytes: int) -> Bytes:
        """The bytes at a device address."""
        for start, memory in self._memory.items():
            if start <= address and address + nbytes <= start + memory.nbytes:
                return memory.bytes[address - start : address - start + nbytes]
        raise LogicError(f"an illegal memory access was encountered ({nbytes} bytes at {address:#x})")

    def new_handle(self, thing: object) -> int:
        self._next_handle += 0x10
        self._handles[self._next_handle] = thing
        return self._next_handle

    def of_handle(self, handle: int) -> object:
        if handle not in self._handles:
            raise LogicError(f"invalid resource handle {handle:#x}")
        return self._handles[handle]

    def drop_handle(self, handle: int) -> None:
        del self._handles[handle]

    def stream(self, handle: int) -> Stream:
        found = self.of_handle(handle)
        assert isinstance(found, weakref.ref)
        stream = found()
        assert isinstance(stream, Stream), "a stream that is gone was used"
        return stream

    def left_over(self) -> dict[str, int]:
        """What is still alive."""
        if any(self.live.values()):
            # The traceback of an error that was told holds what it saw.
            gc.collect()
        stale = sum(not context.valid for stack in self._driver_stacks.values() for context in stack)
        return {kind: count for kind, count in {**self.live, "stale": stale}.items() if count}

    def is_page_locked(self, array: npt.NDArray[np.generic]) -> bool:
        base: object = array
        while isinstance(base, np.ndarray):
            base = base.base
        return isinstance(base, HostAllocation) and base.address in self._memory

    def _driver_module(self) -> ModuleType:
        module = ModuleType("pycuda.driver")
        names = {
            "Error": Error, "LogicError": LogicError, "MemoryError": MemoryError,
            "init": self._init, "Device": self._device, "Stream": self._new_stream, "Context": Context,
            "Event": functools.partial(Event, self),
            "mem_alloc": self._mem_alloc, "mem_get_info": lambda: (self.free, 1 << 33),
            "pagelocked_empty": self._pagelocked_empty,
            "memcpy_htod_async": self._htod, "memcpy_dtoh_async": self._dtoh,
            "host_alloc_flags": type("host_alloc_flags", (), {"PORTABLE": 1, "DEVICEMAP": DEVICEMAP}),
            "device_attribute": type(
                "device_attribute", (), {"INTEGRATED": 18, "CAN_MAP_HOST_MEMORY": 19, "MULTIPROCESSOR_COUNT": 16}
            ),
        }  # fmt: skip
        for name, value in names.items():
            setattr(module, name, value)
        return module

    def _init(self, flags: int = 0) -> None:
        if self.no_gpu:
            raise LogicError("cuInit failed: no CUDA-capable device is detected")

    def _device(self, ordinal: int) -> FakeDevice:
        assert ordinal == 0
        return FakeDevice(self)

    def _new_stream(self, flags: int = 0) -> Stream:
        self.require_current("cuStreamCreate")
        return Stream(self, flags)

    def _mem_alloc(self, nbytes: int) -> DeviceAllocation:
        self.require_current("cuMemAlloc")
        return DeviceAllocation(self, nbytes, "device")

    def _pagelocked_empty(
        self, shape: tuple[int], dtype: npt.DTypeLike, order: str = "C", mem_flags: int = 0
    ) -> npt.NDArray[np.generic]:
        self.require_current("cuMemHostAlloc")
        kind = np.dtype(dtype)
        array = np.asarray(HostAllocation(self, shape[0] * kind.itemsize, bool(mem_flags & DEVICEMAP)))
        return array.view(kind) if kind != np.uint8 else array

    def _htod(self, dest: int, src: npt.NDArray[np.generic], stream: Stream) -> None:
        self._copy("htod", int(dest), src, stream)

    def _dtoh(self, dest: npt.NDArray[np.generic], src: int, stream: Stream) -> None:
        self._copy("dtoh", int(src), dest, stream)

    def _copy(self, way: str, address: int, host: npt.NDArray[np.generic], stream: Stream) -> None:
        self.require_current(f"cuMemcpy{way}Async")
        assert self.is_page_locked(host), "an asynchronous copy of memory that is not page-locked"
        assert host.flags.c_contiguous
        self.copies[way].append(host.nbytes)
        flat = host.view(np.uint8).reshape(-1)

        def copy() -> None:
            self.now_us += self.copy_us
            device = self.span(address, flat.nbytes)
            if way == "htod":
                device[:] = flat
            else:
                flat[:] = device

        stream.submit(copy)


class FakeDevice:
    """pycuda.driver.Device."""

    def __init__(self, gpu: FakeGpu) -> None:
        self._gpu = gpu

    def retain_primary_context(self) -> Context:
        return Context(self._gpu)

    def get_attribute(self, attribute: int) -> int:
        return {18: int(self._gpu.integrated), 19: 1, 16: 8}[attribute]

    def compute_capability(self) -> tuple[int, int]:
        return (8, 7)

    def name(self) -> str:
        return "Fake"


class Function:
    """A function of the driver library, which takes argtypes and restype as ctypes' functions do."""

    def __init__(self, call: Callable[..., int]) -> None:
        self._call = call

    def __call__(self, *arguments: object) -> int:
        return self._call(*arguments)


class DriverLibrary:
    """The part of libcuda.so.1 that is used."""

    def __init__(self, gpu: FakeGpu) -> None:
        self._gpu = gpu
        self.cuCtxPopCurrent_v2 = Function(self._cuCtxPopCurrent_v2)
        for name in (
            "cuStreamBeginCapture_v2", "cuStreamEndCapture", "cuGraphInstantiateWithFlags", "cuGraphLaunch",
            "cuGraphDestroy", "cuGraphExecDestroy", "cuGetErrorName",
        ):  # fmt: skip
            if name not in gpu.missing:
                setattr(self, name, Function(self._guarded(name, getattr(self, f"_{name}"))))

    def _guarded(self, name: str, call: Callable[..., int]) -> Callable[..., int]:
        def guarded(*arguments: object) -> int:
            if name in self._gpu.refuse:
                if name == "cuStreamEndCapture":
                    self._gpu.stream(_plain(arguments[0])).captured = None
                return NOT_SUPPORTED
            if name != "cuGetErrorName":
                self._gpu.require_current(name)
            return call(*arguments)

        return guarded

    def _cuCtxPopCurrent_v2(self, context: object) -> int:  # noqa: N802
        self._gpu.driver_stack().pop()
        return 0

    def _cuStreamBeginCapture_v2(self, stream: int, mode: int) -> int:  # noqa: N802
        found = self._gpu.stream(_plain(stream))
        assert found.captured is None
        assert not found.pending, "a capture began while work was under way"
        assert _plain(mode) == THREAD_LOCAL
        found.captured, found.capture_is_sound = [], True
        return 0

    def _cuStreamEndCapture(self, stream: int, graph: object) -> int:  # noqa: N802
        found = self._gpu.stream(_plain(stream))
        operations, found.captured = found.captured, None
        if operations is None or not found.capture_is_sound:
            return INVALIDATED
        self._gpu.live["graph"] += 1
        _target(graph).value = self._gpu.new_handle(operations)
        return 0

    def _cuGraphInstantiateWithFlags(self, executable: object, graph: object, flags: object) -> int:  # noqa: N802
        operations = self._gpu.of_handle(_plain(graph))
        self._gpu.live["graph_exec"] += 1
        self._gpu.made["graph_exec"] += 1
        _target(executable).value = self._gpu.new_handle(list(operations))  # type: ignore[call-overload]
        return 0

    def _cuGraphLaunch(self, executable: object, stream: object) -> int:  # noqa: N802
        operations = self._gpu.of_handle(_plain(executable))
        assert isinstance(operations, list)
        for operation in operations:
            self._gpu.stream(_plain(stream)).submit(operation)
        self._gpu.launches += 1
        return 0

    def _cuGraphDestroy(self, graph: object) -> int:  # noqa: N802
        self._gpu.drop_handle(_plain(graph))
        self._gpu.live["graph"] -= 1
        return 0

    def _cuGraphExecDestroy(self, executable: object) -> int:  # noqa: N802
        self._gpu.drop_handle(_plain(executable))
        self._gpu.live["graph_exec"] -= 1
        return 0

    def _cuGetErrorName(self, code: int, text: object) -> int:  # noqa: N802
        names = {
            INVALIDATED: b"CUDA_ERROR_STREAM_CAPTURE_INVALIDATED", NOT_SUPPORTED: b"CUDA_ERROR_NOT_SUPPORTED",
            OUT_OF_MEMORY: b"CUDA_ERROR_OUT_OF_MEMORY",
        }  # fmt: skip
        with contextlib.suppress(KeyError):
            _target(text).value = names[code]
        return 0


def _plain(handle: object) -> int:
    value = handle.value if isinstance(handle, (ctypes.c_void_p, ctypes.c_int, ctypes.c_ulonglong)) else handle
    assert isinstance(value, int)
    return value


def _target(reference: object) -> ctypes.c_void_p:
    """What ``ctypes.byref`` points to."""
    return reference._obj  # type: ignore[attr-defined,no-any-return]
