"""What passes between a process that wants an engine and the child that builds it: JSON, and paths of files."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

from agfedge_runtime.engines.tensorrt.build.device import Device
from agfedge_runtime.engines.tensorrt.build.options import BuildOptions
from agfedge_runtime.errors import BackendError
from agfedge_runtime.strict_json import Document


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
            workspace=None if fields.values["workspace"] is None else fields.integer("workspace"),
            warnings=fields.texts("warnings"),
        )
