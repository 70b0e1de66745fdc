"""Arrays that already lie on the GPU, for one engine after another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Iterator, Mapping

import numpy as np

from agfedge_runtime.arrays import AnyArray
from agfedge_runtime.engines.tensorrt.run.buffers import Buffer
from agfedge_runtime.engines.tensorrt.run.cuda import Cuda
from agfedge_runtime.engines.tensorrt.run.tensors import Shape
from agfedge_runtime.errors import BackendError


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
