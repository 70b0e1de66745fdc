"""From a graph to a plan: what the builder is told, and what its refusals mean.

How far a build has come is drawn as a bar on the terminal, where TensorRT tells it (from version 10 on).
"""

from __future__ import annotations

import dataclasses
import logging
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Protocol, cast

from agfedge_runtime.engines.tensorrt.build.bindings import BuilderConfig
from agfedge_runtime.engines.tensorrt.build.device import Device, free_memory_mib
from agfedge_runtime.engines.tensorrt.build.graph import Graph, read_graph
from agfedge_runtime.engines.tensorrt.build.library import Library
from agfedge_runtime.engines.tensorrt.build.network import Network, add_batch_profile, parse_network
from agfedge_runtime.engines.tensorrt.build.options import PRECISIONS, BuildOptions
from agfedge_runtime.engines.tensorrt.build.precision import MANAGED, PrecisionPlan, plan_precision, real_precision
from agfedge_runtime.engines.tensorrt.build.timing import keep_timing_cache, use_timing_cache
from agfedge_runtime.errors import BackendError

__all__ = ["PRECISIONS", "BuildOptions", "Built", "build_engine", "less_workspace"]

_log = logging.getLogger(__name__)
_MIB = 2**20
_LEAST_WORKSPACE_MIB = 16
# The first bound where nothing was known of the memory, and it ran out.
_FIRST_WORKSPACE_MIB = 1024
_OUT_OF_MEMORY = ("out of memory", "outofmemory", "out_of_memory", "cudaerrormemoryallocation", "bad_alloc")
_FAST = {"FP16": "platform_has_fast_fp16", "INT8": "platform_has_fast_int8"}


@dataclass(frozen=True)
class Built:
    """A plan, fresh from the builder.

    Attributes:
        data: the plan.
        precision: ``fp32``, ``fp16`` or ``int8``: the lowest in the engine where it can be read back, which needs a
            GPU; else what was asked of the builder.
        seconds: how long the builder took.
        workspace: MiB that it was allowed; None where nothing was known of the memory.
        warnings: what the user must know, a line each.
    """

    data: bytes
    precision: str
    seconds: float
    workspace: int | None
    warnings: tuple[str, ...] = ()


class _OutOfMemoryError(BackendError):
    """The builder ran out of memory; with less workspace it may not."""


@dataclass(frozen=True)
class _Job:
    """One engine to build; see `build_engine`."""

    library: Library
    graph: Graph
    options: BuildOptions
    precision: PrecisionPlan
    timing_cache: Path | None
    progress: bool


def build_engine(
    library: Library,
    path: Path,
    options: BuildOptions | None = None,
    device: Device | None = None,
    timing_cache: Path | None = None,
    progress: bool = False,
) -> Built:
    """Build a plan in this process; `EngineStore` does it in a child, and once.

    Args:
        library: the TensorRT to use.
        path: the graph.
        options: what it is built for.
        device: what it is built on; one without a GPU by default, where nothing bounds the workspace.
        timing_cache: the file that keeps what the builder measures; None measures anew and keeps nothing.
        progress: draw bars on a terminal.

    Raises:
        BackendError: the graph cannot be taken, the precision cannot be given, or the builder fails; the message
            holds the builder's reason.
    """
    wanted = BuildOptions() if options is None else options
    place = Device() if device is None else device
    graph = read_graph(path)
    job = _Job(library, graph, wanted, plan_precision(library, graph, wanted), timing_cache, progress)
    made = _with_less_workspace(job, _first_workspace(wanted, place))
    # Only now, since the builder's memory is given back.
    precision = real_precision(library, made.data) if place.gpu else None
    if precision is None:
        return made
    return dataclasses.replace(made, precision=precision, warnings=_mismatch(job, precision))


def less_workspace(workspace: int | None) -> int | None:
    """The next workspace to try when memory ran out, in MiB; None when there is no smaller one.

    Args:
        workspace: the last one; None where it had no bound.
    """
    if workspace is None:
        return _FIRST_WORKSPACE_MIB
    return workspace // 2 if workspace // 2 >= _LEAST_WORKSPACE_MIB else None


def _with_less_workspace(job: _Job, workspace: int | None) -> Built:
    """Build, and where memory runs out build again with half of the workspace."""
    try:
        return _attempt(job, workspace)
    except _OutOfMemoryError as error:
        smaller = less_workspace(workspace)
        if smaller is None:
            raise BackendError(
                f"{error} with a workspace of {workspace} MiB, the least that is tried; close other programs, "
                "build with a smaller --batch, or add swap"
            ) from error
        _log.warning("%s; trying again with a workspace of %d MiB", error, smaller)
    # Outside of the handler, whose traceback would keep the failed builder's memory.
    return _with_less_workspace(job, smaller)


def _first_workspace(options: BuildOptions, device: Device) -> int | None:
    free = free_memory_mib(device)
    if free is None:
        return options.workspace
    half = max(free // 2, _LEAST_WORKSPACE_MIB)
    return half if options.workspace is None else min(options.workspace, half)


def _attempt(job: _Job, workspace: int | None) -> Built:
    started = time.perf_counter()
    library = job.library
    library.logger.clear()
    network = parse_network(library, job.graph, job.precision.by_types)
    config = _config(job, network, workspace)
    if job.timing_cache is not None:
        use_timing_cache(library, config, job.timing_cache)
    if job.progress:
        show_progress(library, config, job.graph.path.stem)
    plan = network.builder.build_serialized_network(network.definition, config)
    if plan is None:
        raise _failure(job)
    if job.timing_cache is not None:
        keep_timing_cache(config, job.timing_cache)
    return Built(bytes(plan), job.precision.promised, time.perf_counter() - started, workspace)


def _config(job: _Job, network: Network, workspace: int | None) -> BuilderConfig:
    library, options = job.library, job.options
    config = network.builder.create_builder_config()
    if workspace is not None:
        config.set_memory_pool_limit(library.module.MemoryPoolType.WORKSPACE, workspace * _MIB)
    # What the engine's layers compute in is told only by such a plan.
    config.profiling_verbosity = library.module.ProfilingVerbosity.DETAILED
    if options.dla is not None:
        _set_dla(library, network, config, options.dla)
    _set_flags(job, network, config)
    if options.optimization_level is not None:
        if not library.has("IBuilderConfig.builder_optimization_level"):
            raise BackendError(f"{library.title} has no optimisation levels, which came with 8.6; leave it out")
        config.builder_optimization_level = options.optimization_level
    add_batch_profile(library, network, config, job.graph, options.batch)
    return config


def _set_flags(job: _Job, network: Network, config: BuilderConfig) -> None:
    kinds, wanted = job.library.module.BuilderFlag, job.precision.flags
    for name in sorted({*MANAGED, *wanted}):
        if name in wanted and _is_fast(job, network, name):
            config.set_flag(getattr(kinds, name))
        elif job.library.has(f"BuilderFlag.{name}"):
            config.clear_flag(getattr(kinds, name))


def _is_fast(job: _Job, network: Network, name: str) -> bool:
    """Whether a flag's precision is worth permitting; asked for by name, it is an error where it is not."""
    question = _FAST.get(name, "")
    if not question or not job.library.has(f"Builder.{question}") or getattr(network.builder, question):
        return True
    if job.options.precision == "best":
        return False
    raise BackendError(
        f"{job.library.title} says that this GPU has no fast {name}; build with --precision best or fp32"
    )


def _set_dla(library: Library, network: Network, config: BuilderConfig, core: int) -> None:
    cores = int(network.builder.num_DLA_cores)
    if core >= cores:
        there = f"cores 0 to {cores - 1}" if cores else "no DLA"
        raise BackendError(f"got the DLA core {core}, this device has {there}; leave --dla out, or choose another core")
    config.default_device_type = library.module.DeviceType.DLA
    config.DLA_core = core


def _failure(job: _Job) -> BackendError:
    said = " ".join(job.library.logger.messages()).lower()
    name, title = job.graph.path.name, job.library.title
    if any(each in said for each in _OUT_OF_MEMORY):
        return _OutOfMemoryError(f"{name}: {title} ran out of memory while building")
    return BackendError(f"{name}: {title} cannot build an engine: {job.library.reason()}")


def _mismatch(job: _Job, built: str) -> tuple[str, ...]:
    promised = job.precision.promised
    # Whatever "best" became, it is what was asked for.
    if built == promised or job.options.precision == "best":
        return ()
    said = (
        f"{job.graph.path.name}: {job.library.title} was asked for {promised} and built {built}; its decisions "
        f"and its speed are those of {built}"
    )
    return (said,)


class _BuildBar(Protocol):
    """What is used of tqdm's bars."""

    total: float

    def update(self, steps: float) -> object: ...
    def close(self) -> None: ...


def show_progress(library: Library, config: BuilderConfig, title: str) -> None:
    """Draw a bar a phase on stderr while a network is built, where the library, tqdm and a terminal are there.

    Args:
        library: the TensorRT to use.
        config: of the build.
        title: what is built.
    """
    if not library.has("IProgressMonitor") or not sys.stderr.isatty():
        return
    with suppress(ImportError):
        config.progress_monitor = _monitor(library.module, title)


def _monitor(module: ModuleType, title: str) -> object:
    from tqdm import tqdm

    class BuildMonitor(module.IProgressMonitor):  # type: ignore[misc, name-defined]
        """One bar for each phase that runs; a phase within another has a line of its own."""

        def __init__(self) -> None:
            module.IProgressMonitor.__init__(self)
            self._bars: dict[str, tuple[_BuildBar, int]] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            described = f"{title}: {phase_name}"
            bar = tqdm(total=num_steps, desc=described, leave=parent_phase is None, file=sys.stderr, unit="step")
            self._bars[phase_name] = (cast("_BuildBar", bar), 0)

        def step_complete(self, phase_name: str, step: int) -> bool:
            if phase_name in self._bars:
                bar, done = self._bars[phase_name]
                bar.update(step + 1 - done)
                self._bars[phase_name] = (bar, step + 1)
            return True  # False would cancel the build.

        def phase_finish(self, phase_name: str) -> None:
            if phase_name in self._bars:
                bar, done = self._bars.pop(phase_name)
                # The last step of a phase may not be told.
                bar.update(bar.total - done)
                bar.close()

    return BuildMonitor()
