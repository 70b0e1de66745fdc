"""What an engine is built for."""

from __future__ import annotations

from dataclasses import dataclass

from agfedge_runtime.errors import InputError

PRECISIONS = ("fp32", "fp16", "int8", "best")
_LARGEST_BATCH = 4096
_LEVELS = range(6)


@dataclass(frozen=True)
class BuildOptions:
    """What an engine is built for.

    Attributes:
        precision: ``fp32``, ``fp16``, ``int8``, or ``best``: what the graph was exported in, and from fp32 also fp16
            where the library takes it from flags.
        batch: the smallest, the usual and the largest number of inputs in one run.
        dla: which DLA core runs it; None is the GPU.
        workspace: MiB that the builder may use; None is half of what is free.
        optimization_level: 0 to 5, how long the builder tries; None leaves it to the library.

    Raises:
        InputError: one of them makes no sense.
    """

    precision: str = "best"
    batch: tuple[int, int, int] = (1, 1, 8)
    dla: int | None = None
    workspace: int | None = None
    optimization_level: int | None = None

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise InputError(f"got the precision {self.precision!r}, expected one of {', '.join(PRECISIONS)}")
        least, usual, most = self.batch
        if not 1 <= least <= usual <= most <= _LARGEST_BATCH:
            raise InputError(
                f"got the batch sizes {least},{usual},{most}, expected a least, a usual and a most, "
                f"each at least the one before it, from 1 to {_LARGEST_BATCH}"
            )
        if self.workspace is not None and self.workspace < 1:
            raise InputError(f"got a workspace of {self.workspace} MiB, expected at least 1")
        if self.optimization_level is not None and self.optimization_level not in _LEVELS:
            raise InputError(f"got the optimisation level {self.optimization_level}, expected 0 to 5")
        if self.dla is not None:
            self._check_dla(self.dla)

    def _check_dla(self, core: int) -> None:
        if core < 0:
            raise InputError(f"got the DLA core {core}, expected 0 or above")
        if self.batch[0] != self.batch[2]:
            raise InputError(
                f"got the batch sizes {','.join(map(str, self.batch))} for a DLA, which runs one size alone; "
                "give one, for instance 1,1,1"
            )
        if self.precision == "fp32":
            raise InputError("got fp32 for a DLA, which runs fp16 and int8 alone; choose one of them, or best")
