"""The objects of a manifest, each a dataclass whose attributes are the keys."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from agfedge_runtime.arrays import AnyArray
from agfedge_runtime.errors import InputError

COST_UNITS = ("macs", "latency")


@dataclass(frozen=True)
class FileRecord:
    """One file of the bundle: `size` in bytes and `sha256` in lower-case hexadecimal."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Preprocessing:
    """How an input becomes what the model was trained on: ``(x * scale - mean) / std``, channel by channel.

    Attributes:
        image: whether inputs are uint8 (N, H, W, C) camera bytes, which become float32 (N, C, H, W); otherwise they
            are float32 in the model's own layout, and only scaled and shifted where asked.
        scale: factor applied first; 1/255 for bytes.
        mean: one number, or one a channel.
        std: likewise.
    """

    image: bool
    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def trivial(self) -> bool:
        """Whether inputs pass unchanged."""
        return not self.image and self.scale == 1 and not any(self.mean) and all(value == 1 for value in self.std)


@dataclass(frozen=True)
class InputSpec:
    """The one input that both experts take.

    Attributes:
        name: its name in both graphs.
        shape: the sizes, batch first and None.
        dtype: ``uint8`` (camera bytes) or ``float32``.
        layout: ``NHWC``, ``NCHW`` or ``any``.
        preprocessing: what the graphs do to it.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str
    layout: str
    preprocessing: Preprocessing

    @property
    def row_shape(self) -> tuple[int, ...]:
        """The shape of one input, without the batch."""
        return tuple(size for size in self.shape if size is not None)

    def check(self, x: AnyArray) -> None:
        """Refuse what is not a batch of such inputs.

        Raises:
            InputError: `x` is of another type, dtype or shape, or empty.
        """
        if not isinstance(x, np.ndarray):
            raise InputError(f"got a {type(x).__name__}, expected {self._expected()}; give a NumPy array")
        if x.dtype != self.dtype or x.shape[1:] != self.shape[1:] or x.shape[0] < 1:
            raise InputError(
                f"got {x.dtype} {x.shape}, expected {self._expected()}; convert it, or export a bundle for it"
            )

    def _expected(self) -> str:
        return f"{self.dtype} ({', '.join(['N', *map(str, self.row_shape)])}) with N of at least 1"


@dataclass(frozen=True)
class Expert:
    """One expert's graph: `file` in the bundle, `macs` per image and number of `parameters`."""

    file: str
    macs: int
    parameters: int


@dataclass(frozen=True)
class Trunk:
    """What both experts share and an input runs through once; the experts' graphs are then what comes after it.

    Attributes:
        file: the graph; it takes the bundle's input.
        macs: multiply-accumulates per image.
        parameters: how many numbers it learned.
        outputs: the tensors that both experts' graphs take, by the same names.
    """

    file: str
    macs: int
    parameters: int
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class Experts:
    """The two experts, and the trunk that they share, if any."""

    light: Expert
    heavy: Expert
    trunk: Trunk | None = None

    @property
    def graphs(self) -> tuple[tuple[str, Expert | Trunk], ...]:
        """What lies in the bundle, by a name for people."""
        if self.trunk is None:
            return (("heavy", self.heavy), ("light", self.light))
        return (("trunk", self.trunk), ("heavy after it", self.heavy), ("light after it", self.light))


@dataclass(frozen=True)
class Costs:
    """What a pass of each part costs, relative to the whole heavy expert (1.0).

    Attributes:
        light: of the light expert; with a trunk, of what comes after it.
        prior: of the prior alone; 0 where none is used.
        overhead: of the runtime, a decision.
        trunk: of what both experts share, run once for every input; 0 where they share nothing.
        heavy: of the heavy expert; with a trunk, of what comes after it.
        unit: what was counted, one of `COST_UNITS`.
    """

    light: float
    prior: float = 0.0
    overhead: float = 0.0
    trunk: float = 0.0
    heavy: float = 1.0
    unit: str = "macs"
