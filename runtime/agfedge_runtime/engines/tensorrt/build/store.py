"""Engines, built once: plans in a folder, each by the digest of its key, with a record that vouches for it.

Beside them lie the options of the last build: a cascade asks for no more than a precision, and opens the engine that
was built with the batch sizes, the DLA core and the optimisation level of that build.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from agfedge_runtime.atomic import write_text
from agfedge_runtime.engines.tensorrt.build.device import Device, find_device
from agfedge_runtime.engines.tensorrt.build.folder import check_private, engines_folder, held, make_folder, not_writable
from agfedge_runtime.engines.tensorrt.build.graph import Graph, read_graph
from agfedge_runtime.engines.tensorrt.build.library import Library
from agfedge_runtime.engines.tensorrt.build.options import BuildOptions
from agfedge_runtime.engines.tensorrt.build.process import BuildRequest, BuildResult, build_in_child
from agfedge_runtime.engines.tensorrt.build.record import (
    EngineKey,
    PlanRecord,
    UnusableError,
    engine_key,
    optional_integer,
    read_plan,
)
from agfedge_runtime.engines.tensorrt.build.timing import timing_path
from agfedge_runtime.errors import AgfedgeError, InputError
from agfedge_runtime.strict_json import Document

_log = logging.getLogger(__name__)
_LOCK = "build.lock"
_OPTIONS = ("batch", "dla", "optimization_level")


@dataclass(frozen=True)
class EnginePlan:
    """A plan that this device built, and that its record vouches for.

    Attributes:
        data: the plan.
        key: what it was built from and for.
        precision: the engine's own: ``fp32``, ``fp16`` or ``int8``.
        path: where it is kept.
        seconds: how long it took to build, whenever that was.
        warnings: what was said when it was built, a line each.
        is_new: whether it was built just now.
    """

    data: bytes
    key: EngineKey
    precision: str
    path: Path
    seconds: float
    warnings: tuple[str, ...]
    is_new: bool


class EngineStore:
    """A folder of engines.

    A plan of another graph, version, device or precision has another name, so that it is never found; one that is
    damaged, or was put there under a wrong name, is built anew.

    Args:
        library: what builds.
        folder: where engines are kept; by default `engines_folder` of each graph.
        device: what they are built for; by default this machine's first GPU.
        build: builds one; by default in a child process.
        progress: draw bars on a terminal.
    """

    def __init__(
        self,
        library: Library,
        folder: Path | None = None,
        device: Device | None = None,
        build: Callable[[BuildRequest], BuildResult] = build_in_child,
        progress: bool = False,
    ) -> None:
        self.library = library
        self.device = find_device() if device is None else device
        self._folder = folder
        self._build = build
        self._progress = progress

    def plan(self, path: Path, options: BuildOptions | None = None, rebuild: bool = False) -> EnginePlan:
        """The plan of a graph: the one that is kept, or a new one.

        When another process builds in the folder, this one waits and then uses what it built.

        Args:
            path: the graph.
            options: what it is built for; with nothing but a precision, as it was last prepared.
            rebuild: build it in any case, for instance since the library refuses the kept one.

        Raises:
            BackendError: the graph cannot be read or built.
            InputError: the folder cannot be written, or everybody may write to it.
            MissingPackageError: the library is gone.
        """
        graph, folder = read_graph(path), self._folder_of(path)
        wanted = recall(folder, self.library, graph, BuildOptions() if options is None else options)
        return self._kept_or_built(folder, graph, wanted, rebuild)

    def prepare(self, path: Path, options: BuildOptions, rebuild: bool = False) -> EnginePlan:
        """As `plan`, and from now on the plan of this graph where nothing but a precision is asked for.

        Raises:
            AgfedgeError: as `plan` does.
        """
        graph, folder = read_graph(path), self._folder_of(path)
        plan = self._kept_or_built(folder, graph, options, rebuild)
        remember(folder, self.library, graph, options)
        return plan

    def _folder_of(self, path: Path) -> Path:
        return engines_folder(path) if self._folder is None else self._folder

    def _kept_or_built(self, folder: Path, graph: Graph, options: BuildOptions, rebuild: bool) -> EnginePlan:
        key = engine_key(self.library, self.device, graph, options)
        kept = None if rebuild else self._kept(folder, key)
        if kept is not None:
            return kept
        make_folder(folder)
        try:
            with held(folder / _LOCK):
                # Another process may have built it while this one waited.
                kept = None if rebuild else self._kept(folder, key)
                return self._built(folder, key, graph.path, options) if kept is None else kept
        except OSError as error:
            raise not_writable(folder, error) from error

    def _kept(self, folder: Path, key: EngineKey) -> EnginePlan | None:
        plan, record = _paths(folder, key)
        try:
            data, known = read_plan(plan, record, key)
            check_private(folder, folder.stat().st_mode)
        except FileNotFoundError:
            return None
        except UnusableError as error:
            _log.warning("%s is built anew: %s", plan, error)
            return None
        return _plan(data, plan, known, is_new=False)

    def _built(self, folder: Path, key: EngineKey, path: Path, options: BuildOptions) -> EnginePlan:
        plan, record = _paths(folder, key)
        timing = timing_path(folder, self.library, self.device)
        _log.info("building an engine of %s with %s", path, self.library.title)
        done = self._build(
            BuildRequest(self.library.name, path.resolve(), options, self.device, plan, timing, self._progress)
        )
        known = PlanRecord(key, done.sha256, done.precision, done.seconds, done.workspace, done.warnings)
        # The record comes last: without it, or with an older one, the plan is not run.
        write_text(record, known.to_json())
        data, known = read_plan(plan, record, key)
        return _plan(data, plan, known, is_new=True)


def _paths(folder: Path, key: EngineKey) -> tuple[Path, Path]:
    return folder / f"{key.digest}.plan", folder / f"{key.digest}.json"


def _plan(data: bytes, path: Path, record: PlanRecord, is_new: bool) -> EnginePlan:
    for warning in record.warnings:
        _log.warning("%s", warning)
    return EnginePlan(data, record.key, record.precision, path, record.seconds, record.warnings, is_new)


def recall(folder: Path, library: Library, graph: Graph, options: BuildOptions) -> BuildOptions:
    """The options of the last build, where nothing but a precision is asked for; else those that are asked for.

    Args:
        folder: where engines are kept.
        library: the TensorRT to use.
        graph: what is built.
        options: what is asked for.
    """
    if options != BuildOptions(options.precision, workspace=options.workspace):
        return options
    path = _options_path(folder, library, graph, options)
    try:
        return _read_options(path.read_text(encoding="utf-8"), options)
    except FileNotFoundError:
        return options
    except (OSError, UnicodeDecodeError, AgfedgeError) as error:
        _log.warning("%s is left out of account: %s", path, error)
        return options


def remember(folder: Path, library: Library, graph: Graph, options: BuildOptions) -> None:
    """Keep the options of a build for `recall`.

    Args:
        folder: where engines are kept.
        library: the TensorRT that built it.
        graph: what was built.
        options: what it was built for.

    Raises:
        InputError: the folder cannot be written.
    """
    plain = BuildOptions(options.precision, workspace=options.workspace)
    if recall(folder, library, graph, plain) != options:
        values = {key: getattr(options, key) for key in _OPTIONS}
        write_text(_options_path(folder, library, graph, options), json.dumps(values, sort_keys=True) + "\n")


def _options_path(folder: Path, library: Library, graph: Graph, options: BuildOptions) -> Path:
    return folder / f"{graph.sha256[:32]}-{library.name}-{options.precision}.options.json"


def _read_options(text: str, options: BuildOptions) -> BuildOptions:
    document = Document("the options of the last build", InputError, "run agfedge-runtime build again")
    fields = document.fields(document.parse(text), "", _OPTIONS)
    sizes = [fields.document.integer(value, "batch") for value in fields.array("batch")]
    if len(sizes) != 3:
        document.fail("batch", f"expected three sizes, got {len(sizes)}")
    return dataclasses.replace(
        options,
        batch=(sizes[0], sizes[1], sizes[2]),
        dla=optional_integer(fields, "dla"),
        optimization_level=optional_integer(fields, "optimization_level"),
    )
