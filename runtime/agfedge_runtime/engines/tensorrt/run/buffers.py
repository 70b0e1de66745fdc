"""Where inputs and outputs lie: on the GPU with a page-locked copy on the host, or in memory that both see.

On a Jetson CPU and GPU share their memory, so that mapped memory saves both copies; but it can be slow to read. Which
one is quicker is measured, not assumed (`choose_memory`). Arrays that lie on the GPU
already serve one engine after another (`Shared`).
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Any, Callable, Iterator, Mapping

import numpy as np

from agfedge_runtime.arrays import AnyArray
from agfedge_runtime.engines.tensorrt.run.cuda import Cuda, DeviceMemory, HostMemory
from agfedge_runtime.engines.tensorrt.run.tensors import Shape
from agfedge_runtime.errors import BackendError, InputError

PINNED, MAPPED = "pinned", "mapped"
_WARM_UP = 3
_ROUNDS = 15


@dataclass(frozen=True)
class MemoryChoice:
    """Which memory an engine's inputs and outputs lie in.

    Attributes:
        kind: ``pinned`` or ``mapped``.
        reason: why.
        pinned_us: how long runs with pinned memory took, in microseconds; empty where nothing was measured.
        mapped_us: the same with mapped memory.
    """

    kind: str
    reason: str
    pinned_us: tuple[float, ...] = ()
    mapped_us: tuple[float, ...] = ()


def choose_memory(wish: str, integrated: bool, run_us: Callable[[str], float]) -> MemoryChoice:
    """Decide where inputs and outputs lie.

    Args:
        wish: ``pinned``, ``mapped``, or ``auto`` for the quicker one.
        integrated: whether CPU and GPU share their memory.
        run_us: runs once with a kind of memory, from an input on the host to outputs on the host, and says how many
            microseconds that took.

    Raises:
        InputError: no such wish.
    """
    if wish in (PINNED, MAPPED):
        return MemoryChoice(wish, "asked for")
    if wish != "auto":
        raise InputError(f"got the memory {wish!r}, expected auto, {PINNED} or {MAPPED}")
    if not integrated:
        return MemoryChoice(PINNED, "the GPU has memory of its own")
    pinned, mapped = _measured(run_us)
    medians = statistics.median(pinned), statistics.median(mapped)
    kind = MAPPED if medians[1] < medians[0] else PINNED
    reason = f"measured: pinned {medians[0]:.0f} us, mapped {medians[1]:.0f} us a run (medians of {_ROUNDS})"
    return MemoryChoice(kind, reason, tuple(pinned), tuple(mapped))


def _measured(run_us: Callable[[str], float]) -> tuple[list[float], list[float]]:
    for _ in range(_WARM_UP):
        run_us(PINNED)
        run_us(MAPPED)
    # In turn, so that a clock that changes meanwhile favours neither.
    pairs = [(run_us(PINNED), run_us(MAPPED)) for _ in range(_ROUNDS)]
    return [pinned for pinned, _ in pairs], [mapped for _, mapped in pairs]


class Buffer:
    """The memory of one input or output, as large as its largest shape. CUDA's context is current wherever it is used.

    Args:
        cuda: where it lies.
        nbytes: its size.
        kind: ``pinned`` or ``mapped``.

    Attributes:
        address: as the GPU sees it.
        writes: how often it was overwritten; what was read at another count is no longer there.
        is_open: whether it still has its memory.
        busy_since: how often the stream had been waited for when work that uses it was submitted last.
    """

    def __init__(self, cuda: Cuda, nbytes: int, kind: str) -> None:
        self._cuda = cuda
        self._nbytes = max(nbytes, 1)
        self._host: HostMemory | None = None
        self._device: DeviceMemory | None = None
        if kind == MAPPED:
            self._host = cuda.host_memory(self._nbytes, mapped=True)
            self.address = self._host.address
        else:
            self._device = cuda.device_memory(self._nbytes)
            self.address = self._device.address
        self.writes = 0
        self.is_open = True
        self.busy_since = -1

    def fill(self, array: AnyArray) -> None:
        """Submit that the GPU sees `array`, which may be changed once this returns."""
        # What was submitted since the last wait may still read from the host's copy, or from mapped memory itself.
        if self.busy_since == self._cuda.waits:
            self._cuda.wait()
        staged = (self._host or self._staging()).array[: array.nbytes]
        np.copyto(staged.view(array.dtype).reshape(array.shape), array)
        if self._device is not None:
            self._cuda.upload(self.address, staged)
        self.busy_since = self._cuda.waits
        self.writes += 1

    def fetch(self, nbytes: int) -> None:
        """Submit that the host sees its first bytes; `read` them after a wait."""
        if self._device is not None:
            self._cuda.download((self._host or self._staging()).array[:nbytes], self.address)

    def read(self, nbytes: int, dtype: np.dtype[Any], shape: Shape) -> AnyArray:
        """A copy of what was fetched."""
        copied: AnyArray = (self._host or self._staging()).array[:nbytes].view(dtype).reshape(shape).copy()
        return copied

    def close(self) -> None:
        """Give it back; safe to call twice. It is not in use."""
        self.is_open = False
        for memory in (self._host, self._device):
            if memory is not None:
                memory.free()
        self._host = self._device = None

    def _staging(self) -> HostMemory:
        # Most outputs are never asked for: their copy on the host is made when one is.
        if self._host is None:
            self._host = self._cuda.host_memory(self._nbytes, mapped=False)
        return self._host


@dataclass
class Resident:
    """One array on the GPU, until its buffer is written to again.

    Attributes:
        buffer: where it lies.
        writes: the buffer's count when it was written.
        dtype: of its elements.
        shape: of the array.
        host: the same array on the host; None until somebody asks for it.
    """

    buffer: Buffer
    writes: int
    dtype: np.dtype[Any]
    shape: Shape
    host: AnyArray | None = None

    @property
    def is_there(self) -> bool:
        """Whether the GPU still has it."""
        return self.buffer.is_open and self.buffer.writes == self.writes


class Shared(Mapping[str, AnyArray]):
    """Arrays by name, on the GPU; as a mapping, the same arrays on the host, copied when one is asked for.

    An engine of the same thread takes them where they are. They live until the engine that made them is given another
    input, or is closed.

    Args:
        cuda: whose memory it is.
        residents: what lies there.

    Attributes:
        cuda: as given.
        residents: as given.
    """

    def __init__(self, cuda: Cuda, residents: Mapping[str, Resident]) -> None:
        self.cuda = cuda
        self.residents = residents

    @property
    def is_there(self) -> bool:
        """Whether the GPU still has all of them."""
        for resident in self.residents.values():
            if not resident.buffer.is_open or resident.buffer.writes != resident.writes:
                return False
        return True

    def __getitem__(self, name: str) -> AnyArray:
        """The array on the host.

        Raises:
            KeyError: there is none of that name.
            BackendError: it was never copied, and the GPU no longer has it.
        """
        resident = self.residents[name]
        if resident.host is None:
            resident.host = self._copied(name, resident)
        return resident.host

    def __contains__(self, name: object) -> bool:
        # Without looking it up, which would copy it.
        return name in self.residents

    def __iter__(self) -> Iterator[str]:
        return iter(self.residents)

    def __len__(self) -> int:
        return len(self.residents)

    def _copied(self, name: str, resident: Resident) -> AnyArray:
        with self.cuda.active():
            if not resident.is_there:
                raise BackendError(
                    f"{name} is no longer on the GPU: its engine has run again, or is closed; read it before"
                )
            nbytes = resident.dtype.itemsize
            for length in resident.shape:
                nbytes *= length
            resident.buffer.fetch(nbytes)
            self.cuda.wait()
            return resident.buffer.read(nbytes, resident.dtype, resident.shape)
