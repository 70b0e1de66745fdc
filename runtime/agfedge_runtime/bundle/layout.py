"""The objects of a manifest, each a dataclass whose attributes are the keys."""

from __future__ import annotations

from dataclasses import dataclass

# What the light graph's confidence may be; whichever it is, it lies in [0, 1] and a higher one is surer.
CONFIDENCE_KINDS = ("max_probability", "margin", "entropy", "energy")
COST_UNITS = ("macs", "latency")
# Bins of equal width over [0, 1] that a reference counts confidences in.
CONFIDENCE_BINS = 20


@dataclass(frozen=True)
class FileRecord:
    """One file of the bundle: `size` in bytes and `sha256` in lower-case hexadecimal."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Preprocessing:
    """What the graphs do to their input first, for the reader's information: ``(x * scale - mean) / std``."""

    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]


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
class PriorRule:
    """Escalate early when the `output` exceeds `threshold`; None never escalates.

    It is an output of the trunk where there is one, else of the light graph.
    """

    kind: str
    output: str
    threshold: float | None


@dataclass(frozen=True)
class ConfidenceRule:
    """The light expert answers when its `output` is at least `threshold`; one above 1 leaves all to heavy."""

    kind: str
    output: str
    threshold: float
    temperature: float


@dataclass(frozen=True)
class Guarantee:
    """What calibration promises: excess error <= `epsilon` with probability 1 - `delta`, from `samples`."""

    method: str
    epsilon: float
    delta: float
    samples: int
    satisfied: bool


@dataclass(frozen=True)
class Reference:
    """What the cascade did on the calibration split, for a monitor to compare with.

    Attributes:
        samples: how many inputs it had.
        early: share of them that the prior escalated.
        late: share of them that the light expert handed over.
        confidence: how many confidences of the light expert, where it ran, lay in each of `CONFIDENCE_BINS` equal
            bins over [0, 1].
    """

    samples: int
    early: float
    late: float
    confidence: tuple[int, ...]


@dataclass(frozen=True)
class Router:
    """How an input finds its expert.

    `prior` is None when there is no early escalation, `reference` when nothing is known to compare with.
    """

    prior: PriorRule | None
    confidence: ConfidenceRule
    guarantee: Guarantee
    reference: Reference | None = None


@dataclass(frozen=True)
class Costs:
    """What a run of each part costs, in `unit`, relative to the whole heavy expert (1.0).

    With a trunk, `light` and `heavy` are of what comes after it; without one, `trunk` is 0 and `heavy` is 1.
    """

    unit: str
    prior: float
    light: float
    heavy: float = 1.0
    trunk: float = 0.0
