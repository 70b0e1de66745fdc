"""An expert's graph, run by TensorRT through pycuda: one code path from version 8.5 to 11, and for TensorRT-RTX."""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path
from time import perf_counter_ns
from typing import Any, Mapping, Sequence, cast

import numpy as np

from agfedge_runtime.arrays import AnyArray
from agfedge_runtime.engines.protocol import DeviceClock
from agfedge_runtime.engines.tensorrt.build.library import Library, open_library
from agfedge_runtime.engines.tensorrt.build.options import BuildOptions
from agfedge_runtime.engines.tensorrt.build.store import EnginePlan, EngineStore
from agfedge_runtime.engines.tensorrt.run.buffers import Buffer, MemoryChoice, Resident, Shared, choose_memory
from agfedge_runtime.engines.tensorrt.run.cuda import Cuda, open_cuda
from agfedge_runtime.engines.tensorrt.run.program import Program, RefusedPlanError
from agfedge_runtime.engines.tensorrt.run.runner import ClockedRunner, EventClock, ExecutionOptions, Places, Runner
from agfedge_runtime.engines.tensorrt.run.tensors import Shape, TensorSpec
from agfedge_runtime.errors import BackendError, InputError

_log = logging.getLogger(__name__)


class TensorRtEngine:
    """One graph on the GPU.

    It belongs to the thread that opened it, as do all engines that share arrays with it (`share`). A batch larger than
    the engine was built for runs in pieces.

    Args:
        path: the ONNX graph; its engine is built, or taken from the store.
        threads: recorded alone; TensorRT uses no CPU threads in a run.
        backend: ``tensorrt`` or ``tensorrt_rtx``.
        build: what the engine is built for.
        execution: how it runs.
        plan: an engine of the store, where it was looked up before.

    Attributes:
        name: the backend.
        version: the library's, in full.
        threads: as given.
        input_names: the graph's inputs.
        output_names: the graph's outputs.
        dtypes: of inputs and outputs by name.
        shapes: of inputs and outputs by name, -1 where a run decides.
        precision: the engine's real one.
        memory: where inputs and outputs lie, and why.

    Raises:
        BackendError: there is no GPU, or the engine cannot be built or loaded.
        InputError: an option makes no sense.
        MissingPackageError: TensorRT or pycuda is not installed.
    """

    def __init__(
        self,
        path: Path,
        threads: int = 1,
        backend: str = "tensorrt",
        *,
        build: BuildOptions | None = None,
        execution: ExecutionOptions | None = None,
        plan: EnginePlan | None = None,
    ) -> None:
        if threads < 1:
            raise InputError(f"got {threads} threads, expected at least 1")
        library = open_library(backend)
        self.name, self.version, self.threads = library.name, library.full_version, threads
        self._title = path.name
        self._options = execution or ExecutionOptions()
        self._program: Program | None = None
        self._runner: Runner | None = None
        self._done: Shared | None = None
        self._closed = False
        self._clock: EventClock | None = None
        # Before the engine is built, which takes minutes: without a GPU it would be in vain.
        self._cuda: Cuda = open_cuda()
        # Kept, as is what was accepted last: what comes again and again is looked at once.
        self._active = self._cuda.active()
        self._known_outputs: Sequence[str] = ()
        self._accepted: list[tuple[np.dtype[Any], Shape]] = []
        with contextlib.ExitStack() as undo:
            undo.callback(self.close)
            self.precision = ""
            self._load(library, path, build or BuildOptions(), plan)
            undo.pop_all()

    def run(self, inputs: Mapping[str, AnyArray], outputs: Sequence[str]) -> list[AnyArray]:
        """Compute `outputs`; see `Engine.run`.

        Only what is asked for is copied to the host. For the same `share` of an input as in the run before, nothing is
        computed again: so a prior may be asked for first, and probabilities where they are needed.
        """
        runner = self._runner or self._opened()
        if outputs is not self._known_outputs:
            self._check_outputs(outputs)
        with self._active:
            if inputs is not self._done or not self._done.is_there:
                if not self._fits(inputs):
                    return self._run_in_pieces(inputs, outputs)
                self._submit(runner, inputs)
            return runner.fetch(outputs)

    def share(self, inputs: Mapping[str, AnyArray]) -> Mapping[str, AnyArray]:
        """Put inputs on the GPU, where every engine of this thread takes them from.

        Args:
            inputs: as for `run`.

        Returns:
            The same arrays by name. They stay on the GPU until this engine is given other inputs; engines then copy
            them anew.

        Raises:
            BackendError: they do not fit, or the engine is closed.
        """
        runner = self._runner or self._opened()
        if isinstance(inputs, Shared) and inputs.cuda is self._cuda and inputs.is_there:
            return inputs
        with self._active:
            if not self._fits(inputs):
                return inputs
            residents = {}
            for name in self.input_names:
                array, buffer = inputs[name], runner.inputs[name]
                buffer.fill(array)
                residents[name] = Resident(buffer, buffer.writes, array.dtype, array.shape, array)
            return Shared(self._cuda, residents)

    def run_shared(self, inputs: Mapping[str, AnyArray], outputs: Sequence[str]) -> Mapping[str, AnyArray]:
        """Compute `outputs` and leave them on the GPU for another engine of this thread.

        Args:
            inputs: as for `run`.
            outputs: names of outputs.

        Returns:
            The outputs by name; one is copied to the host when it is looked up, which must be before this engine runs
            again.

        Raises:
            BackendError: as `run` does.
        """
        runner = self._runner or self._opened()
        if outputs is not self._known_outputs:
            self._check_outputs(outputs)
        with self._active:
            if inputs is not self._done or not self._done.is_there:
                if not self._fits(inputs):
                    return dict(zip(outputs, self._run_in_pieces(inputs, outputs)))
                self._submit(runner, inputs)
            residents = {}
            for name in outputs:
                buffer = runner.outputs[name]
                residents[name] = Resident(buffer, buffer.writes, self.dtypes[name], runner.output_shapes[name])
            return Shared(self._cuda, residents)

    def start_clock(self, clock: DeviceClock | None) -> DeviceClock:
        """Time copies and runs by CUDA events from now on; see `ClockedEngine.start_clock`."""
        runner = self._opened()
        shared = clock if isinstance(clock, EventClock) else EventClock(self._cuda)
        if isinstance(runner, ClockedRunner):
            raise BackendError(f"{self._title}: it is timed already; end the other measurement first")
        shared.attach()
        self._clock, self._runner = shared, cast("Runner", ClockedRunner(runner, shared))
        return shared

    def stop_clock(self) -> None:
        """See `ClockedEngine.stop_clock`."""
        clock, self._clock = self._clock, None
        if clock is None:
            return
        self._runner = cast("ClockedRunner", self._runner).plain
        clock.detach()

    def layers(self, inputs: Mapping[str, AnyArray], outputs: Sequence[str], runs: int) -> list[tuple[str, float]]:
        """Time layers by TensorRT's profiler; see `LayeredEngine.layers`. All outputs are computed in every run."""
        runner = self._opened()
        self._check_outputs(outputs)
        with self._cuda.active():
            self._check_inputs(inputs)
            self._done = None
            return runner.layers(self._placed(runner, inputs)[0], runs)

    @property
    def most_rows(self) -> int:
        """How many inputs it takes at once."""
        return self._most_rows

    @property
    def graphs(self) -> int:
        """How many CUDA graphs were captured so far."""
        return 0 if self._runner is None else self._runner.graphs

    @property
    def capture_failure(self) -> str:
        """Why no CUDA graphs are used; empty where they are, or may be later."""
        return "" if self._runner is None else self._runner.capture_failure

    def close(self) -> None:
        """Give back all that the engine holds; safe to call twice.

        Raises:
            BackendError: another thread opened the engine; nothing is given back.
        """
        if self._closed:
            return
        try:
            with self._cuda.active():
                self._closed = True
                self._done = None
                self.stop_clock()
                self._release()
        finally:
            if self._closed:
                self._cuda.close()

    def _load(self, library: Library, path: Path, build: BuildOptions, plan: EnginePlan | None) -> None:
        with self._cuda.active():
            found = plan
            if found is None:
                found, self._program = _opened_plan(library, path, build)
            else:
                self._program = _program(library, found, path)
            self.precision = found.precision
            self._specs: dict[str, TensorSpec] = self._program.tensors
            specs = self._specs.values()
            self.input_names: tuple[str, ...] = tuple(spec.name for spec in specs if spec.is_input)
            self.output_names: tuple[str, ...] = tuple(spec.name for spec in specs if not spec.is_input)
            self.dtypes = {spec.name: spec.dtype for spec in specs}
            self.shapes = {spec.name: spec.shape for spec in specs}
            self._batched = tuple(name for name in self.input_names if self.shapes[name][:1] == (-1,))
            self._most_rows = min((self._specs[name].most[0] for name in self._batched), default=1)
            self._runner, self.memory = self._chosen_runner(self._program)
        _log.info("%s: %s memory: %s", self._title, self.memory.kind, self.memory.reason)

    def _chosen_runner(self, program: Program) -> tuple[Runner, MemoryChoice]:
        """A runner with the memory that suits this GPU; where both kinds are tried, the other one is given back."""
        tried: dict[str, Runner] = {}

        def runner(kind: str) -> Runner:
            if kind not in tried:
                tried[kind] = Runner(program, self._cuda, kind, self._options)
            return tried[kind]

        try:
            choice = choose_memory(
                self._options.memory, self._cuda.integrated, lambda kind: _timed_run_us(runner(kind), self._specs)
            )
            chosen = runner(choice.kind)
            del tried[choice.kind]
        finally:
            for other in tried.values():
                other.close()
        return chosen, choice

    def _opened(self) -> Runner:
        if self._closed or self._runner is None:
            raise BackendError(f"{self._title}: the engine is closed; open the cascade again")
        return self._runner

    def _fits(self, inputs: Mapping[str, AnyArray]) -> bool:
        """Whether inputs fit into one run; what does not fit the engine at all is refused.

        Raises:
            BackendError: they are not what the engine was built for.
        """
        if len(inputs) != len(self.input_names):
            self._check_inputs(inputs)
        facts: list[tuple[np.dtype[Any], Shape]] = []
        shared = inputs.residents if isinstance(inputs, Shared) else inputs
        for name in self.input_names:
            if name not in shared:
                self._check_inputs(inputs)
            array = shared[name]
            facts.append((array.dtype, array.shape))
        if facts != self._accepted:
            self._check_inputs(inputs)
            if self._rows(inputs) > self._most_rows:
                return False
            self._accepted = facts
        return True

    def _submit(self, runner: Runner, inputs: Mapping[str, AnyArray]) -> None:
        self._done = None
        places, buffers = self._placed(runner, inputs)
        runner.submit(places)
        # Only now: a run that is captured waits in between.
        for buffer in buffers:
            buffer.busy_since = self._cuda.waits
        if isinstance(inputs, Shared) and inputs.cuda is self._cuda:
            self._done = inputs

    def _placed(self, runner: Runner, inputs: Mapping[str, AnyArray]) -> tuple[Places, list[Buffer]]:
        """Where each input lies, which is copied to the GPU unless it is there; and its memory."""
        places, buffers = [], []
        residents = inputs.residents if isinstance(inputs, Shared) and inputs.cuda is self._cuda else {}
        for name in self.input_names:
            resident = residents.get(name)
            if resident is not None and resident.buffer.is_open and resident.buffer.writes == resident.writes:
                shape, buffer = resident.shape, resident.buffer
            else:
                array, buffer = inputs[name], runner.inputs[name]
                shape = array.shape
                buffer.fill(array)
            places.append((name, shape, buffer.address))
            buffers.append(buffer)
        return tuple(places), buffers

    def _check_outputs(self, outputs: Sequence[str]) -> None:
        for name in outputs:
            if name not in self.output_names:
                raise BackendError(f"{self._title}: no output {name}; it has {', '.join(self.output_names)}")
        self._known_outputs = outputs

    def _check_inputs(self, inputs: Mapping[str, AnyArray]) -> None:
        if len(inputs) != len(self.input_names) or any(name not in inputs for name in self.input_names):
            raise BackendError(
                f"{self._title}: got the inputs {', '.join(inputs) or 'none'}, expected {', '.join(self.input_names)}"
            )
        for name in self.input_names:
            self._check_input(name, *_facts(inputs, name))
        counts = sorted({_facts(inputs, name)[1][0] for name in self._batched})
        if len(counts) > 1:
            raise BackendError(
                f"{self._title}: got inputs of {' and '.join(map(str, counts))} rows, expected one number of rows for "
                "all of them"
            )

    def _check_input(self, name: str, dtype: np.dtype[Any], shape: Shape) -> None:
        spec, piece = self._specs[name], shape
        if name in self._batched and shape and shape[0] > self._most_rows:
            piece = (self._most_rows, *shape[1:])
        if dtype != spec.dtype or not spec.takes(piece):
            raise BackendError(
                f"{self._title}: {name}: got {dtype} {shape}, expected {spec.expected}; "
                "convert it, or build the engine for such a batch"
            )

    def _rows(self, inputs: Mapping[str, AnyArray]) -> int:
        return _facts(inputs, self._batched[0])[1][0] if self._batched else 1

    def _run_in_pieces(self, inputs: Mapping[str, AnyArray], outputs: Sequence[str]) -> list[AnyArray]:
        """More rows than fit, in pieces of about the same size."""
        rows = self._rows(inputs)
        count = -(-rows // self._most_rows)
        bounds = [rows * index // count for index in range(count + 1)]
        parts = []
        for first, last in zip(bounds, bounds[1:]):
            taken = {name: inputs[name][first:last] if name in self._batched else inputs[name] for name in inputs}
            parts.append(self.run(taken, outputs))
        return [np.concatenate(each) for each in zip(*parts)]

    def _release(self) -> None:
        """Give back each part, also where one of them fails, as after an error of the GPU all do."""
        parts: list[Any] = [part for part in (self._runner, self._program) if part is not None]
        self._runner = self._program = None
        with contextlib.ExitStack() as all_of_them:
            for part in reversed(parts):
                all_of_them.callback(part.close)
            all_of_them.callback(self._cuda.wait)


def _opened_plan(library: Library, path: Path, build: BuildOptions) -> tuple[EnginePlan, Program]:
    """The store's plan, deserialized; a kept one that the library refuses is built anew, once."""
    store = EngineStore(library)
    plan = store.plan(path, build)
    try:
        return plan, _program(library, plan, path)
    except RefusedPlanError as error:
        if plan.is_new:
            raise
        _log.warning("%s is built anew: %s", plan.path, error)
    plan = store.plan(path, build, rebuild=True)
    return plan, _program(library, plan, path)


def _program(library: Library, plan: EnginePlan, path: Path) -> Program:
    return Program(library, plan.data, path.name, plan.key.dla)


def _facts(inputs: Mapping[str, AnyArray], name: str) -> tuple[np.dtype[Any], Shape]:
    """The dtype and shape of an input; nothing is copied from the GPU for it."""
    if isinstance(inputs, Shared):
        resident = inputs.residents[name]
        return resident.dtype, resident.shape
    array = inputs[name]
    return array.dtype, array.shape


def _timed_run_us(runner: Runner, specs: Mapping[str, TensorSpec]) -> float:
    """Microseconds of one run, from inputs of zeros on the host to all outputs there."""
    zeros = {name: np.zeros(specs[name].usual, specs[name].dtype) for name in runner.inputs}
    started = perf_counter_ns()
    for name, array in zeros.items():
        runner.inputs[name].fill(array)
    runner.submit(tuple((name, array.shape, runner.inputs[name].address) for name, array in zeros.items()))
    runner.fetch(tuple(runner.outputs))
    return (perf_counter_ns() - started) / 1e3
