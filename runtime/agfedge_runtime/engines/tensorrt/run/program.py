"""A plan, deserialized, and the execution contexts made of it.

What differs between versions is asked for by name, never by number.
"""

from __future__ import annotations

from typing import Any, Protocol, cast

from agfedge_runtime.engines.tensorrt.build.library import Library
from agfedge_runtime.engines.tensorrt.run.cuda import Cuda
from agfedge_runtime.engines.tensorrt.run.tensors import Shape, TensorSpec, read_tensors
from agfedge_runtime.errors import BackendError

# What is put off to the first runs is none of a layer's usual time.
_WARM_UP = 3
_USER_MANAGED = "ExecutionContextAllocationStrategy.USER_MANAGED"


class LayerProfiler(Protocol):
    """An ``IProfiler`` that keeps what it is told."""

    def begin_run(self) -> None:
        """What it is told from now on is of another run."""
        ...

    def means_us(self, forgotten: int) -> list[tuple[str, float]]:
        """Name and mean microseconds of each layer of all runs but some first ones, in the order in which they ran."""
        ...


def layer_profiler(library: Library) -> LayerProfiler:
    """A new profiler of a TensorRT."""

    class Profiler(library.module.IProfiler):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            library.module.IProfiler.__init__(self)
            self._runs: list[dict[str, float]] = []

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            run = self._runs[-1]
            run[layer_name] = run.get(layer_name, 0.0) + ms * 1e3

        def begin_run(self) -> None:
            self._runs.append({})

        def means_us(self, forgotten: int) -> list[tuple[str, float]]:
            runs = self._runs[forgotten:]
            names = {name: None for run in runs for name in run}
            return [(name, sum(run.get(name, 0.0) for run in runs) / len(runs)) for name in names]

    return cast("LayerProfiler", Profiler())


class RefusedPlanError(BackendError):
    """TensorRT does not load a plan: it is for another version or GPU, or damaged."""


class Program:
    """One deserialized engine. CUDA's context is current wherever it is made, used and closed.

    Deserializing runs code of the plan: give it only plans of the store, which vouches for their digest.

    Args:
        library: the TensorRT that built the plan.
        plan: the plan's bytes.
        title: what messages call it.
        dla: the DLA core that it was built for; None is the GPU.

    Attributes:
        tensors: every input and output by name.
        activation_bytes: what a context needs for what lies between layers.

    Raises:
        RefusedPlanError: the plan is for another version or GPU, or is damaged.
        BackendError: it takes or answers what this runtime cannot give or take.
    """

    def __init__(self, library: Library, plan: bytes, title: str, dla: int | None = None) -> None:
        self._library, self._title = library, title
        module: Any = library.module
        library.logger.clear()
        # Version 8 makes some operators of plugins (InstanceNormalization is one); a parser registers them, a runtime
        # does not.
        module.init_libnvinfer_plugins(library.logger, "")
        try:
            self._runtime = module.Runtime(library.logger)
        except (TypeError, RuntimeError) as error:  # What a null pointer becomes in Python.
            reason = library.reason() if library.logger.errors() else " ".join(str(error).split())
            raise BackendError(
                f"{library.title} cannot run engines here: {reason}; run `agfedge-runtime check`"
            ) from error
        if dla is not None:
            self._runtime.DLA_core = dla
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise RefusedPlanError(
                f"{title}: {library.title} cannot load the engine: {library.reason()}; "
                "build it again on this device with agfedge-runtime build"
            )
        self.tensors: dict[str, TensorSpec] = read_tensors(library, self._engine, title)
        # The first name is gone from version 11 on, the second came with 10.
        sized_by = "device_memory_size_v2" if hasattr(self._engine, "device_memory_size_v2") else "device_memory_size"
        self.activation_bytes = int(getattr(self._engine, sized_by))

    def context(self, cuda: Cuda, share_activations: bool) -> BoundContext:
        """A new execution context.

        Args:
            cuda: where it runs.
            share_activations: whether it uses the session's scratch memory instead of its own.

        Raises:
            BackendError: there is no memory for it.
        """
        self._library.logger.clear()
        context = self._shared_context() if share_activations else self._engine.create_execution_context()
        if context is None:
            raise BackendError(
                f"{self._title}: {self._library.title} cannot make an execution context: {self._library.reason()}; "
                "close other programs, or build the engine for a smaller batch"
            )
        return BoundContext(context, self, cuda, share_activations)

    def _shared_context(self) -> Any:
        """A context without memory of its own: by a strategy from version 10 on, by a method before."""
        if self._library.has(_USER_MANAGED):
            module: Any = self._library.module
            return self._engine.create_execution_context(module.ExecutionContextAllocationStrategy.USER_MANAGED)
        return self._engine.create_execution_context_without_device_memory()

    def profiler(self) -> LayerProfiler | None:
        """A new profiler for one of its contexts; None where this TensorRT has none."""
        return layer_profiler(self._library) if self._library.has("IProfiler") else None

    def failure(self, what: str) -> BackendError:
        """What went wrong, with TensorRT's reason."""
        return BackendError(f"{self._title}: {self._library.title} {what}: {self._library.reason()}")

    def forget_messages(self) -> None:
        """So that the next failure's reason is its own."""
        self._library.logger.clear()

    def close(self) -> None:
        """Give it back, after every context; safe to call twice."""
        self._engine = None
        self._runtime = None


class BoundContext:
    """An execution context, the shapes and addresses that it was given last.

    Args:
        context: an ``IExecutionContext``.
        program: whose it is.
        cuda: where it runs.
        share_activations: whether it has no memory of its own.
    """

    def __init__(self, context: Any, program: Program, cuda: Cuda, share_activations: bool) -> None:
        self._context, self._program, self._cuda = context, program, cuda
        self._shares = share_activations
        self._shapes: dict[str, Shape] = {}
        self._addresses: dict[str, int] = {}
        self._scratch_address = 0

    def set_shape(self, name: str, shape: Shape) -> None:
        """Give an input its shape.

        Raises:
            BackendError: TensorRT refused.
        """
        if self._shapes.get(name) == shape:
            return
        if not self._context.set_input_shape(name, shape):
            raise self._program.failure(f"refused the shape {shape} of {name}")
        self._shapes[name] = shape

    def set_address(self, name: str, address: int) -> None:
        """Say where an input or output lies on the GPU.

        Raises:
            BackendError: TensorRT refused.
        """
        if self._addresses.get(name) == address:
            return
        if not self._context.set_tensor_address(name, address):
            raise self._program.failure(f"refused the memory of {name}")
        self._addresses[name] = address

    def shape(self, name: str) -> Shape:
        """An output's shape, once every input has one.

        Raises:
            BackendError: it depends on more than the inputs' shapes.
        """
        shape = tuple(self._context.get_tensor_shape(name))
        if min(shape, default=0) < 0:
            raise self._program.failure(f"cannot tell the shape of {name} before it runs, got {shape}")
        return shape

    def enqueue(self) -> None:
        """Submit one run to the stream.

        Raises:
            BackendError: TensorRT refused.
        """
        self._lend_scratch()
        self._program.forget_messages()
        if not self._context.execute_async_v3(self._cuda.stream):
            raise self._program.failure("failed to enqueue a run")

    def layers(self, runs: int) -> list[tuple[str, float]]:
        """Name and mean microseconds of each layer, of runs that TensorRT's profiler times; none where it has none.

        It has to be the last that is asked of this context: the profiler stays, and waits in every run.

        Raises:
            BackendError: TensorRT refused.
        """
        profiler = self._program.profiler()
        if profiler is None:
            return []
        self._context.profiler = profiler
        for _ in range(_WARM_UP + runs):
            profiler.begin_run()
            self.enqueue()
            self._cuda.wait()
        return profiler.means_us(_WARM_UP)

    def is_capturable(self) -> bool:
        """Whether this context, where it can tell, may be captured in its present state."""
        # TensorRT-RTX compiles while it runs, and can tell.
        ask = getattr(self._context, "is_stream_capturable", None)
        return ask is None or bool(ask(self._cuda.stream))

    def close(self) -> None:
        """Give it back; safe to call twice. It is not under way."""
        self._context = None

    def _lend_scratch(self) -> None:
        if not self._shares:
            return
        scratch = self._cuda.scratch
        scratch.reserve(self._cuda, self._program.activation_bytes)
        if scratch.address == self._scratch_address:
            return
        if hasattr(self._context, "set_device_memory"):
            self._context.set_device_memory(scratch.address, scratch.nbytes)
        else:
            self._context.device_memory = scratch.address
        self._scratch_address = scratch.address
