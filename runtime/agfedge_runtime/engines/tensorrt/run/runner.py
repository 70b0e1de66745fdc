"""Runs of one engine: its memory, its execution contexts, and a CUDA graph for each batch size that keeps coming.

A captured graph holds the addresses and the state of the context that it was captured from, so that each has a context
of its own; only plain runs share one. Where a capture fails, runs stay plain.

While something is measured, an event is recorded before and after each copy and each run, on the stream that both are
submitted to: the GPU's own clock. Copies and runs are submitted as ever.
"""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass
from typing import Any, Iterator, Sequence, Tuple

import numpy as np

from agfedge_runtime.arrays import AnyArray
from agfedge_runtime.engines.protocol import PARTS
from agfedge_runtime.engines.tensorrt.run.buffers import Buffer
from agfedge_runtime.engines.tensorrt.run.cuda import Cuda, Event
from agfedge_runtime.engines.tensorrt.run.driver import CapturedGraph, CaptureError
from agfedge_runtime.engines.tensorrt.run.program import BoundContext, Program
from agfedge_runtime.engines.tensorrt.run.tensors import Shape, TensorSpec
from agfedge_runtime.errors import BackendError, InputError

_log = logging.getLogger(__name__)

# So many plain runs of one kind come before it is captured: what is asked once or twice is not worth it.
_PLAIN_RUNS = 3
_REMEMBERED = 256

# Where each input lies: its name, its shape, and its address on the GPU.
Places = Tuple[Tuple[str, Shape, int], ...]
_COPY_IN, _COMPUTE, _COPY_OUT = PARTS
_Mark = Tuple[str, str, Event, Event]


@dataclass(frozen=True)
class ExecutionOptions:
    """How an engine runs.

    Attributes:
        graphs: for how many batch sizes CUDA graphs are captured; 0 for none.
        memory: ``pinned``, ``mapped``, or ``auto`` for the quicker one; see `choose_memory`.
        share_activations: whether what lies between layers is one piece of memory for all engines of a thread, which
            never run at the same time. Without it every context has its own.

    Raises:
        InputError: `graphs` is below 0.
    """

    graphs: int = 4
    memory: str = "auto"
    share_activations: bool = True

    def __post_init__(self) -> None:
        if self.graphs < 0:
            raise InputError(f"got {self.graphs} CUDA graphs, expected 0 or above")


@dataclass(frozen=True)
class _Fetch:
    """Copies to the host, the smallest first, and what is then read there, in the order in which it was asked for."""

    downloads: tuple[tuple[Buffer, int], ...]
    reads: tuple[tuple[Buffer, int, np.dtype[Any], Shape], ...]


@dataclass
class _Captured:
    context: BoundContext
    graph: CapturedGraph
    scratch_address: int
    shapes: dict[str, Shape]


class Runner:
    """Memory and contexts of one engine. CUDA's context is current wherever it is used.

    Args:
        program: the engine.
        cuda: where it runs.
        kind: of the memory of inputs and outputs.
        options: how it runs; `ExecutionOptions.memory` was decided.

    Attributes:
        inputs: memory by name.
        outputs: memory by name.
        output_shapes: of the last run.
        capture_failure: why runs stay plain; empty where they need not.

    Raises:
        BackendError: there is no memory for it.
    """

    def __init__(self, program: Program, cuda: Cuda, kind: str, options: ExecutionOptions) -> None:
        self._program, self._cuda, self._options = program, cuda, options
        self._specs = program.tensors
        self._captured: dict[Places, _Captured] = {}
        self._plain_runs: dict[Places, int] = {}
        self.inputs: dict[str, Buffer] = {}
        self.outputs: dict[str, Buffer] = {}
        self.output_shapes: dict[str, Shape] = {}
        # How outputs of these shapes are fetched, by the names that are asked for.
        self._fetches: dict[tuple[str, ...], _Fetch] = {}
        self.capture_failure = ""
        self._context: BoundContext | None = None
        with contextlib.ExitStack() as undo:
            undo.callback(self.close)
            self._context = context = program.context(cuda, options.share_activations)
            self._allocate(context, kind)
            undo.pop_all()

    @property
    def graphs(self) -> int:
        """How many CUDA graphs there are."""
        return len(self._captured)

    def submit(self, places: Places) -> None:
        """Submit one run; its outputs may be fetched."""
        captured = self._captured.get(places) or self._maybe_capture(places)
        if captured is None:
            self._submit_plain(places)
        elif self._options.share_activations and captured.scratch_address != self._cuda.scratch.address:
            # A larger engine was opened since: what was captured points to memory that is gone.
            self._cuda.wait()
            self._drop_captured()
            self._submit_plain(places)
        else:
            captured.graph.launch()
            if self.output_shapes is not captured.shapes:
                self.output_shapes = captured.shapes
                self._fetches.clear()
        waits = self._cuda.waits
        for buffer in self.outputs.values():
            buffer.writes += 1
            buffer.busy_since = waits

    def fetch(self, names: Sequence[str]) -> list[AnyArray]:
        """Outputs of the last run, the smallest first on their way: a prior does not wait for probabilities."""
        asked = tuple(names)
        wanted = self._fetches.get(asked) or self._fetch_of(asked)
        for buffer, nbytes in wanted.downloads:
            buffer.fetch(nbytes)
        self._cuda.wait()
        outputs = []
        for buffer, nbytes, dtype, shape in wanted.reads:
            outputs.append(buffer.read(nbytes, dtype, shape))
        return outputs

    def layers(self, places: Places, runs: int) -> list[tuple[str, float]]:
        """Name and mean microseconds of each layer, in plain runs of a context of its own that TensorRT times.

        Raises:
            BackendError: TensorRT refused.
        """
        context = self._program.context(self._cuda, self._options.share_activations)
        try:
            self._bind(context, places)
            return context.layers(runs)
        finally:
            for buffer in self.outputs.values():
                buffer.writes += 1
                buffer.busy_since = self._cuda.waits
            context.close()

    def close(self) -> None:
        """Give all of it back; safe to call twice. Nothing is under way."""
        self._drop_captured()
        if self._context is not None:
            self._context.close()
        self._context = None
        for buffer in (*self.inputs.values(), *self.outputs.values()):
            buffer.close()

    def _fetch_of(self, names: tuple[str, ...]) -> _Fetch:
        reads = []
        for name in names:
            spec, shape = self._specs[name], self.output_shapes[name]
            reads.append((self.outputs[name], _nbytes(spec, shape), spec.dtype, shape))
        downloads = sorted(((buffer, nbytes) for buffer, nbytes, _, _ in reads), key=lambda part: part[1])
        self._fetches[names] = made = _Fetch(tuple(downloads), tuple(reads))
        return made

    def _allocate(self, context: BoundContext, kind: str) -> None:
        for spec in self._specs.values():
            if spec.is_input:
                context.set_shape(spec.name, spec.most)
                self.inputs[spec.name] = Buffer(self._cuda, _nbytes(spec, spec.most), kind)
        for spec in self._specs.values():
            if not spec.is_input:
                self.outputs[spec.name] = Buffer(self._cuda, _nbytes(spec, context.shape(spec.name)), kind)

    def _submit_plain(self, places: Places) -> None:
        if self._context is None:
            raise BackendError("the engine is closed; open the cascade again")
        self.output_shapes = self._bind(self._context, places)
        self._fetches.clear()
        self._context.enqueue()
        if len(self._plain_runs) >= _REMEMBERED:
            self._plain_runs.clear()
        self._plain_runs[places] = self._plain_runs.get(places, 0) + 1

    def _bind(self, context: BoundContext, places: Places) -> dict[str, Shape]:
        """Tell a context what to read and where to write; the shapes of what it will answer."""
        for name, shape, address in places:
            context.set_shape(name, shape)
            context.set_address(name, address)
        for name, buffer in self.outputs.items():
            context.set_address(name, buffer.address)
        return {name: context.shape(name) for name in self.outputs}

    def _maybe_capture(self, places: Places) -> _Captured | None:
        """A graph for a kind of run that keeps coming, if there is room for one and the engine allows it."""
        wanted = self._plain_runs.get(places, 0) >= _PLAIN_RUNS and len(self._captured) < self._options.graphs
        if not wanted or self.capture_failure:
            return None
        with contextlib.ExitStack() as undo:
            try:
                context = self._program.context(self._cuda, self._options.share_activations)
                undo.callback(context.close)
                self._captured[places] = self._capture(context, places)
            except (CaptureError, BackendError) as error:
                self.capture_failure = str(error)
                _log.warning("runs stay without CUDA graphs, which costs some time for each: %s", error)
                return None
            undo.pop_all()
        return self._captured[places]

    def _capture(self, context: BoundContext, places: Places) -> _Captured:
        shapes = self._bind(context, places)
        # A context puts off work to the first run after a change; that run must not be the captured one.
        context.enqueue()
        self._cuda.wait()
        if not context.is_capturable():
            raise CaptureError("the execution context says that it cannot be captured")
        graph = self._cuda.graphs.capture(context.enqueue)
        return _Captured(context, graph, self._scratch_address(), shapes)

    def _drop_captured(self) -> None:
        for each in self._captured.values():
            each.graph.close()
            each.context.close()
        self._captured.clear()

    def _scratch_address(self) -> int:
        return self._cuda.scratch.address if self._options.share_activations else 0


def _nbytes(spec: TensorSpec, shape: Shape) -> int:
    count = spec.dtype.itemsize
    for length in shape:
        count *= length
    return count


class EventClock:
    """A `DeviceClock` for the engines of one thread.

    Args:
        cuda: the session that they share.
    """

    def __init__(self, cuda: Cuda) -> None:
        self._cuda = cuda
        self._engines = 0
        self._stage = ""
        self._marks: list[_Mark] = []
        # Made once and used again: making one takes longer than recording it.
        self._idle: list[Event] = []

    def attach(self) -> None:
        """One engine more is timed."""
        self._engines += 1
        if self._engines == 1:
            self._cuda.watch(self)

    def detach(self) -> None:
        """One engine less is timed; after the last one nothing is left on the GPU."""
        self._engines -= 1
        if self._engines == 0:
            self._cuda.watch(None)
            with self._cuda.active():
                for _stage, _part, *events in self._marks:
                    self._idle += events
                self._marks = []
                for event in self._idle:
                    event.free()
                self._idle = []

    def begin(self, stage: str) -> None:
        """See `DeviceClock.begin`."""
        if stage and not self._stage:
            self._marks = [(each[0] or stage, *each[1:]) for each in self._marks]
        self._stage = stage

    def take(self) -> dict[str, float]:
        """See `DeviceClock.take`."""
        marks, self._marks = self._marks, []
        times_us: dict[str, float] = {}
        if not marks:
            return times_us
        with self._cuda.active():
            # Of the last one; those before it on the stream are done by then.
            marks[-1][3].wait()
            for stage, part, begin, end in marks:
                for each in PARTS if stage else ():
                    times_us.setdefault(f"{stage}.{each}", 0.0)
                if stage:
                    times_us[f"{stage}.{part}"] += begin.us_until(end)
                self._idle += (begin, end)
        return times_us

    def copying_in(self) -> contextlib.AbstractContextManager[None]:
        """Stands around a copy to the GPU."""
        return self.around(_COPY_IN)

    def copying_out(self) -> contextlib.AbstractContextManager[None]:
        """Stands around a copy from the GPU."""
        return self.around(_COPY_OUT)

    @contextlib.contextmanager
    def around(self, part: str) -> Iterator[None]:
        """Time what is submitted inside."""
        begin, end = self._event(), self._event()
        self._cuda.record(begin)
        yield
        self._cuda.record(end)
        self._marks.append((self._stage, part, begin, end))

    def _event(self) -> Event:
        return self._idle.pop() if self._idle else self._cuda.event()


class ClockedRunner:
    """A runner whose runs are timed.

    Args:
        plain: the runner.
        clock: times them.

    Attributes:
        plain: as given.
    """

    def __init__(self, plain: Runner, clock: EventClock) -> None:
        self.plain = plain
        self._clock = clock

    def submit(self, places: Places) -> None:
        """See `Runner.submit`."""
        with self._clock.around(_COMPUTE):
            self.plain.submit(places)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.plain, name)
