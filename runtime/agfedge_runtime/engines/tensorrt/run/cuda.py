"""CUDA as the engines use it, behind a small protocol, and pycuda behind that.

Every engine of a thread shares one session: the GPU's primary context, retained, and one stream. The context is current
only inside of `Cuda.active`, so that no other user of CUDA in the process finds a foreign context on its stack, and
none is left there when the process ends, which pycuda answers with an abort.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import threading
from types import TracebackType
from typing import Any, ContextManager, Protocol, cast

import numpy as np

from agfedge_runtime.arrays import UInt8Array
from agfedge_runtime.engines.tensorrt.run.driver import GraphCapture, pop_context
from agfedge_runtime.errors import BackendError, MissingPackageError, one_line

# cuda.h: CU_STREAM_NON_BLOCKING, which does not wait for the default stream.
_NON_BLOCKING = 1
_INSTALL = (
    "pip install pycuda, which compiles it and needs nvcc: "
    "export PATH=/usr/local/cuda/bin:$PATH first, and JetPack 7 (CUDA 13) needs pycuda 2025.1.2 or later"
)


class DeviceMemory(Protocol):
    """Memory of the GPU.

    Attributes:
        address: as the GPU sees it.
        nbytes: its size.
    """

    address: int
    nbytes: int

    def free(self) -> None:
        """Give it back; safe to call twice."""
        ...


class HostMemory(Protocol):
    """Page-locked memory of the host.

    Attributes:
        address: as the GPU sees it, where it is mapped; else 0.
        nbytes: its size.
        array: all of it, uint8 (nbytes,).
    """

    address: int
    nbytes: int
    array: UInt8Array

    def free(self) -> None:
        """Give it back; safe to call twice."""
        ...


class Event(Protocol):
    """A moment in the stream's work."""

    def wait(self) -> None:
        """Wait until the stream's work has come to it."""
        ...

    def us_until(self, later: Event) -> float:
        """Microseconds from this one to another; both have come."""
        ...

    def free(self) -> None:
        """Give it back; safe to call twice."""
        ...


class CopyWatch(Protocol):
    """Looks at copies while something is measured."""

    def copying_in(self) -> ContextManager[None]:
        """Stands around a copy to the GPU that is submitted."""
        ...

    def copying_out(self) -> ContextManager[None]:
        """Stands around a copy from the GPU that is submitted."""
        ...


class Cuda(Protocol):
    """One GPU, for one thread. All but `close` and `active` need the context to be current.

    Attributes:
        integrated: whether CPU and GPU share their memory, as on a Jetson.
        stream: the handle of the one stream.
        graphs: captures that stream's work.
        waits: how often the stream was waited for; what was submitted at an earlier count is done.
        scratch: memory that engines which never run at the same time may share.
    """

    integrated: bool
    stream: int
    graphs: GraphCapture
    waits: int
    scratch: Scratch

    def active(self) -> ContextManager[None]:
        """Make the context current inside of a ``with``; nests.

        Raises:
            BackendError: another thread opened the session, or CUDA refused something inside.
        """
        ...

    def device_memory(self, nbytes: int) -> DeviceMemory:
        """Memory of the GPU, aligned to 256 bytes."""
        ...

    def host_memory(self, nbytes: int, mapped: bool) -> HostMemory:
        """Page-locked memory, where wished also mapped into the GPU's addresses."""
        ...

    def upload(self, address: int, source: UInt8Array) -> None:
        """Submit a copy from page-locked memory to the GPU."""
        ...

    def download(self, target: UInt8Array, address: int) -> None:
        """Submit a copy from the GPU to page-locked memory."""
        ...

    def wait(self) -> None:
        """Wait until all that was submitted is done."""
        ...

    def event(self) -> Event:
        """A new event, not recorded yet."""
        ...

    def record(self, event: Event) -> None:
        """Submit that an event has come."""
        ...

    def watch(self, watch: CopyWatch | None) -> None:
        """Have copies looked at from now on, or no longer."""
        ...

    def close(self) -> None:
        """One engine less uses the session; the last one gives back stream and context."""
        ...


class Scratch:
    """Memory for what lies between a graph's layers, as large as the largest engine that shares it needs.

    Attributes:
        address: where it is; another one after it grew.
        nbytes: its size.
    """

    def __init__(self) -> None:
        self.address = 0
        self.nbytes = 0
        self._memory: DeviceMemory | None = None

    def reserve(self, cuda: Cuda, nbytes: int) -> None:
        """Make it at least `nbytes` large; the context is current."""
        if self._memory is not None and nbytes <= self.nbytes:
            return
        self.free(cuda)
        self._memory = cuda.device_memory(max(nbytes, 256))
        self.address, self.nbytes = self._memory.address, self._memory.nbytes

    def free(self, cuda: Cuda) -> None:
        """Give it back, after what may still use it."""
        if self._memory is not None:
            cuda.wait()
            self._memory.free()
            self._memory, self.address, self.nbytes = None, 0, 0


class PyCuda:
    """`Cuda` by pycuda; see `open_cuda`."""

    def __init__(self) -> None:
        # The second stands before it while copies are watched: so an unwatched copy pays nothing for it.
        self._driver = self._plain_driver = _import_driver()
        self.error: type[BaseException] = self._driver.Error
        self.users = 0
        self.waits = 0
        self.scratch = Scratch()
        try:
            self._driver.init()
            device = self._driver.Device(0)
            self._context = device.retain_primary_context()
        except self.error as error:
            raise BackendError(
                f"there is no GPU to use: {one_line(error)}; run with --backend onnxruntime, or mend the driver"
            ) from error
        self._active = _Active(self._context, self.error)
        self.integrated = bool(device.get_attribute(self._driver.device_attribute.INTEGRATED))
        with self._active:
            self._stream = self._driver.Stream(_NON_BLOCKING)
            self.stream = int(self._stream.handle)
        self.graphs = GraphCapture(self.stream)

    def active(self) -> ContextManager[None]:
        """See `Cuda.active`."""
        return self._active

    def device_memory(self, nbytes: int) -> DeviceMemory:
        """See `Cuda.device_memory`."""
        try:
            return _PyCudaDeviceMemory(self._driver.mem_alloc(nbytes), nbytes)
        except self._driver.MemoryError as error:
            raise self._out_of_memory(nbytes) from error

    def host_memory(self, nbytes: int, mapped: bool) -> HostMemory:
        """See `Cuda.host_memory`."""
        flags = self._driver.host_alloc_flags.DEVICEMAP if mapped else 0
        try:
            array = self._driver.pagelocked_empty((nbytes,), np.uint8, mem_flags=flags)
        except self._driver.MemoryError as error:
            raise self._out_of_memory(nbytes) from error
        return _PyCudaHostMemory(array, mapped)

    def upload(self, address: int, source: UInt8Array) -> None:
        """See `Cuda.upload`."""
        self._driver.memcpy_htod_async(address, source, self._stream)

    def download(self, target: UInt8Array, address: int) -> None:
        """See `Cuda.download`."""
        self._driver.memcpy_dtoh_async(target, address, self._stream)

    def wait(self) -> None:
        """See `Cuda.wait`."""
        # Counted first: what fails on the way is no longer under way, either.
        self.waits += 1
        self._stream.synchronize()

    def event(self) -> Event:
        """See `Cuda.event`."""
        return _PyCudaEvent(self._driver.Event())

    def record(self, event: Event) -> None:
        """See `Cuda.record`."""
        cast("_PyCudaEvent", event).plain.record(self._stream)

    def watch(self, watch: CopyWatch | None) -> None:
        """See `Cuda.watch`."""
        self._driver = self._plain_driver if watch is None else _WatchedDriver(self._plain_driver, watch)

    def close(self) -> None:
        """See `Cuda.close`."""
        self.users -= 1
        if self.users > 0:
            return
        _sessions.pop(_here(), None)
        with self._active:
            with contextlib.suppress(self.error):
                self.scratch.free(self)
            # pycuda destroys the stream with its last reference, for which the context must be current.
            del self._stream
        self._context.detach()
        # For this pycuda pushed the context, and releasing a primary context does not take it off the driver's stack.
        pop_context()

    def _out_of_memory(self, nbytes: int) -> BackendError:
        free, total = self._driver.mem_get_info()
        return BackendError(
            f"out of GPU memory: {nbytes} bytes were asked for, {free} of {total} are free; close other programs, "
            "or build engines for a smaller batch"
        )


class _Active:
    """What `PyCuda.active` gives: one object for all calls, so that a run allocates nothing for it."""

    def __init__(self, context: Any, cuda_error: type[BaseException]) -> None:
        self._context, self._cuda_error = context, cuda_error
        self._owner = threading.get_ident()
        self._owner_name = threading.current_thread().name
        self._depth = 0

    def __enter__(self) -> None:
        """Make the context current, unless it is."""
        if threading.get_ident() != self._owner:
            raise BackendError(
                f"got a call from the thread {threading.current_thread().name}, expected {self._owner_name}, which "
                "opened the engine: a GPU's engines belong to one thread; open a cascade in each thread that decides"
            )
        if self._depth == 0:
            self._context.push()
        self._depth += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._depth -= 1
        if self._depth == 0:
            self._context.pop()
        if isinstance(error, self._cuda_error):
            # After most errors a context answers nothing but errors, and all of a process share it.
            raise BackendError(f"CUDA failed: {one_line(error)}; start the program again") from error


class _WatchedDriver:
    """pycuda's driver, with copies that are looked at."""

    def __init__(self, driver: Any, watch: CopyWatch) -> None:
        self._driver, self._watch = driver, watch

    def memcpy_htod_async(self, *arguments: object) -> None:
        with self._watch.copying_in():
            self._driver.memcpy_htod_async(*arguments)

    def memcpy_dtoh_async(self, *arguments: object) -> None:
        with self._watch.copying_out():
            self._driver.memcpy_dtoh_async(*arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._driver, name)


class _PyCudaEvent:
    def __init__(self, plain: Any) -> None:
        self.plain = plain

    def wait(self) -> None:
        self.plain.synchronize()

    def us_until(self, later: Event) -> float:
        return float(self.plain.time_till(cast("_PyCudaEvent", later).plain)) * 1e3

    def free(self) -> None:
        # pycuda destroys it with its last reference, for which the context must be current.
        self.plain = None


class _PyCudaDeviceMemory:
    def __init__(self, allocation: Any, nbytes: int) -> None:
        self._allocation = allocation
        self.address = int(allocation)
        self.nbytes = nbytes

    def free(self) -> None:
        allocation, self._allocation = self._allocation, None
        if allocation is not None:
            allocation.free()


class _PyCudaHostMemory:
    def __init__(self, array: UInt8Array, mapped: bool) -> None:
        self._allocation = cast("Any", array.base)
        self.array = array
        self.nbytes = int(array.nbytes)
        self.address = int(self._allocation.get_device_pointer()) if mapped else 0

    def free(self) -> None:
        allocation, self._allocation = self._allocation, None
        if allocation is not None:
            # The array must not outlive the memory; nobody else has it.
            self.array = self.array[:0].copy()
            allocation.free()


_sessions: dict[tuple[int, int], PyCuda] = {}


def open_cuda() -> PyCuda:
    """The session of this thread, made by the first engine that asks; close it as often as it was opened.

    Raises:
        MissingPackageError: pycuda cannot be imported.
        BackendError: there is no GPU that CUDA can use.
    """
    here = _here()
    if here not in _sessions:
        _sessions[here] = PyCuda()
    session = _sessions[here]
    session.users += 1
    return session


def _here() -> tuple[int, int]:
    # A forked child cannot use its parent's context: CUDA tells it so when it opens its own.
    return os.getpid(), threading.get_ident()


def _import_driver() -> Any:
    try:
        return importlib.import_module("pycuda.driver")
    except Exception as error:  # A pycuda built for another CUDA raises whatever its binary raises.
        raise MissingPackageError(f"pycuda cannot be imported ({one_line(error)}): {_INSTALL}") from error
