"""Build an engine in a child process, and make sense of how it ended; JSON and paths of files pass between the two."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from agfedge_runtime.engines.tensorrt.build.builder import less_workspace
from agfedge_runtime.engines.tensorrt.build.device import Device
from agfedge_runtime.engines.tensorrt.build.options import BuildOptions
from agfedge_runtime.engines.tensorrt.build.record import optional_integer
from agfedge_runtime.errors import BackendError, InputError, MissingPackageError
from agfedge_runtime.strict_json import Document

_log = logging.getLogger(__name__)
# `python -m`: the child's program must not be imported by the package that it lies in.
COMMAND = (sys.executable, "-m", "agfedge_runtime.engines.tensorrt.build.child")
_ERRORS = {each.__name__: each for each in (BackendError, InputError, MissingPackageError)}
_LONGEST_TAIL = 300


@dataclass(frozen=True)
class BuildRequest:
    """A build to do.

    Attributes:
        library: ``tensorrt`` or ``tensorrt_rtx``.
        graph: the ONNX file.
        options: what the engine is built for.
        device: what it is built on.
        plan: the file that takes the plan.
        timing_cache: the file that keeps what the builder measures, if any.
        progress: draw bars on a terminal.
    """

    library: str
    graph: Path
    options: BuildOptions
    device: Device
    plan: Path
    timing_cache: Path | None = None
    progress: bool = False

    def to_json(self) -> str:
        """The request as one line."""
        return json.dumps(dataclasses.asdict(self), default=str)

    @classmethod
    def from_json(cls, text: str) -> BuildRequest:
        """Read what `to_json` wrote; the two are of one release, and nobody else writes it."""
        values = json.loads(text)
        options, cache = values["options"], values["timing_cache"]
        return cls(
            library=values["library"],
            graph=Path(values["graph"]),
            options=BuildOptions(**{**options, "batch": tuple(options["batch"])}),
            device=Device(**values["device"]),
            plan=Path(values["plan"]),
            timing_cache=None if cache is None else Path(cache),
            progress=values["progress"],
        )


@dataclass(frozen=True)
class BuildResult:
    """A build that was done.

    Attributes:
        sha256: of the plan's file.
        precision: the engine's own.
        seconds: how long it took.
        workspace: MiB that the builder was allowed; None where it had no bound.
        warnings: what the user must know, a line each.
    """

    sha256: str
    precision: str
    seconds: float
    workspace: int | None
    warnings: tuple[str, ...]

    def to_json(self) -> str:
        """The result as one line."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> BuildResult:
        """Read what `to_json` wrote.

        Raises:
            BackendError: it is something else.
        """
        document = Document("the builder's answer", BackendError, "install agfedge-runtime again")
        fields = document.fields(document.parse(text), "", tuple(each.name for each in dataclasses.fields(cls)))
        return cls(
            sha256=fields.text("sha256"),
            precision=fields.text("precision"),
            seconds=fields.number("seconds", minimum=0.0),
            workspace=optional_integer(fields, "workspace"),
            warnings=fields.texts("warnings"),
        )


def build_in_child(request: BuildRequest, command: Sequence[str] = COMMAND) -> BuildResult:
    """Build an engine in a process of its own.

    The kernel kills what takes the last of a module's memory: the build is then tried again with less workspace.

    Args:
        request: what to build.
        command: the child's program.

    Raises:
        BackendError: it cannot be built, or the builder crashed.
        InputError: the plan cannot be written.
        MissingPackageError: the library cannot be imported.
    """
    while True:
        done = _run(request, command)
        if done.returncode != -signal.SIGKILL:
            return _result(request, done)
        smaller = less_workspace(request.options.workspace)
        if smaller is None:
            raise BackendError(
                f"{request.graph.name}: the builder was killed, most likely for want of memory, also with a workspace "
                f"of {request.options.workspace} MiB; close other programs, build with a smaller --batch, or add swap"
            )
        _log.warning(
            "%s: the builder was killed, most likely for want of memory; trying again with a workspace of %d MiB",
            request.graph.name,
            smaller,
        )
        request = dataclasses.replace(request, options=dataclasses.replace(request.options, workspace=smaller))


def _run(request: BuildRequest, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    # The child must find this very package, however this process came by it.
    found = str(Path(__file__).resolve().parents[4])
    path = os.pathsep.join([found, *filter(None, [os.environ.get("PYTHONPATH", "")])])
    try:
        return subprocess.run(
            command,
            input=request.to_json(),
            stdout=subprocess.PIPE,
            # Bars are drawn on the terminal itself.
            stderr=None if request.progress else subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            env={**os.environ, "PYTHONPATH": path},
            check=False,
        )
    except OSError as error:
        reason = error.strerror or error
        raise BackendError(
            f"the builder's process cannot start: {reason}; close other programs and try again"
        ) from error


def _result(request: BuildRequest, done: subprocess.CompletedProcess[str]) -> BuildResult:
    if done.returncode == 0:
        return BuildResult.from_json(done.stdout)
    try:
        told = json.loads(done.stdout)
        error = _ERRORS[told["error"]](told["message"])
    except (ValueError, KeyError, TypeError):
        raise BackendError(f"{request.graph.name}: the builder {_ending(done)}") from None
    raise error


def _ending(done: subprocess.CompletedProcess[str]) -> str:
    tail = " ".join((done.stderr or "").split())[-_LONGEST_TAIL:]
    said = f", after saying: {tail}" if tail else ""
    if done.returncode < 0:
        return f"crashed ({_signal_name(-done.returncode)}){said}; it is TensorRT's own fault: try another --precision"
    return f"ended with code {done.returncode}{said}; install agfedge-runtime again"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
