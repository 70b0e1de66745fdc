"""The JSON file beside a plan: what it was built from, and the digest that vouches for it.

It is no header inside of the plan, which trtexec could then not open.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from agfedge_runtime.engines.tensorrt.build.device import Device
from agfedge_runtime.engines.tensorrt.build.graph import Graph
from agfedge_runtime.engines.tensorrt.build.library import Library
from agfedge_runtime.engines.tensorrt.build.options import PRECISIONS, BuildOptions
from agfedge_runtime.engines.tensorrt.build.precision import plan_precision
from agfedge_runtime.errors import AgfedgeError
from agfedge_runtime.strict_json import Document, Fields

SCHEMA = 1
_LARGEST_BYTES = 2**16


@dataclass(frozen=True)
class EngineKey:
    """Everything that a plan depends on; two plans with one key are interchangeable.

    Attributes:
        onnx_sha256: of the graph and its weights. An int8 graph holds its scales, so that this stands for its
            calibration, too.
        library: ``tensorrt`` or ``tensorrt_rtx``.
        version: the library's, in full.
        gpu: its name; empty where there is none.
        compute_capability: the GPU's, as ``8.7``; empty where there is none.
        multiprocessors: of the GPU in its power mode.
        module: a Jetson's, as its device tree calls it; empty elsewhere.
        l4t: a Jetson's release; empty elsewhere.
        precision: ``fp32``, ``fp16`` or ``int8``: the lowest that the builder was permitted.
        batch: the smallest, the usual and the largest batch.
        dla: the DLA core; None is the GPU.
        flags: builder flags, and how the precision is told.
        optimization_level: of the builder; None is the library's own.
    """

    onnx_sha256: str
    library: str
    version: str
    gpu: str
    compute_capability: str
    multiprocessors: int
    module: str
    l4t: str
    precision: str
    batch: tuple[int, int, int]
    dla: int | None
    flags: tuple[str, ...]
    optimization_level: int | None

    @property
    def digest(self) -> str:
        """32 hexadecimal digits of the sha256 of all of it; the name of the plan's files."""
        return hashlib.sha256(self.to_json().encode("utf-8")).hexdigest()[:32]

    def to_json(self) -> str:
        """One spelling of the key, with its attributes as keys."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_fields(cls, fields: Fields) -> EngineKey:
        """Read what `to_json` wrote.

        Raises:
            AgfedgeError: of the document's class, where a value has another type.
        """
        return cls(
            onnx_sha256=fields.text("onnx_sha256"),
            library=fields.text("library"),
            version=fields.text("version"),
            gpu=_maybe_text(fields, "gpu"),
            compute_capability=_maybe_text(fields, "compute_capability"),
            multiprocessors=fields.integer("multiprocessors"),
            module=_maybe_text(fields, "module"),
            l4t=_maybe_text(fields, "l4t"),
            precision=fields.text("precision"),
            batch=_batch(fields),
            dla=optional_integer(fields, "dla"),
            flags=fields.texts("flags"),
            optimization_level=optional_integer(fields, "optimization_level"),
        )


KEY_FIELDS = tuple(field.name for field in dataclasses.fields(EngineKey))


def engine_key(library: Library, device: Device, graph: Graph, options: BuildOptions) -> EngineKey:
    """The key of the engine that these make.

    Raises:
        BackendError: the graph, or the library, cannot give the precision.
    """
    precision = plan_precision(library, graph, options)
    return EngineKey(
        onnx_sha256=graph.sha256,
        library=library.name,
        version=library.full_version,
        gpu=device.gpu,
        compute_capability=device.compute_capability,
        multiprocessors=device.multiprocessors,
        module=device.module,
        l4t=device.l4t,
        precision=precision.promised,
        batch=options.batch,
        dla=options.dla,
        flags=(*precision.flags, *(("STRONGLY_TYPED",) if precision.by_types else ())),
        optimization_level=options.optimization_level,
    )


def _maybe_text(fields: Fields, key: str) -> str:
    return fields.document.text(fields.values[key], fields.at(key))


def optional_integer(fields: Fields, key: str) -> int | None:
    """An integer of at least 0, or null."""
    return None if fields.values[key] is None else fields.integer(key)


def _batch(fields: Fields) -> tuple[int, int, int]:
    sizes = tuple(fields.document.integer(value, fields.at("batch"), 1) for value in fields.array("batch"))
    if len(sizes) != 3:
        fields.document.fail(fields.at("batch"), f"expected three sizes, got {len(sizes)}")
    return sizes


class UnusableError(AgfedgeError):
    """A plan in the cache that must not be run; its text says why. It is rebuilt, and nobody sees this error."""


@dataclass(frozen=True)
class PlanRecord:
    """What is known of a plan.

    Attributes:
        key: what it was built from and for.
        plan_sha256: of the plan's file.
        precision: the engine's own: ``fp32``, ``fp16`` or ``int8``.
        seconds: how long it took to build.
        workspace: MiB that the builder was allowed; None where it had no bound.
        warnings: what was said when it was built, a line each.
    """

    key: EngineKey
    plan_sha256: str
    precision: str
    seconds: float
    workspace: int | None
    warnings: tuple[str, ...]

    def to_json(self) -> str:
        """The file's text."""
        return json.dumps({"schema": SCHEMA, **dataclasses.asdict(self)}, indent=1, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str) -> PlanRecord:
        """Read what `to_json` wrote.

        Raises:
            UnusableError: it is something else.
        """
        document = Document("its record", UnusableError, "it is built anew")
        keys = ("schema", *(field.name for field in dataclasses.fields(cls)))
        fields = document.fields(document.parse(text), "", keys)
        fields.integer("schema", SCHEMA, SCHEMA)
        return cls(
            key=EngineKey.from_fields(fields.fields("key", KEY_FIELDS)),
            plan_sha256=fields.text("plan_sha256"),
            precision=fields.choice("precision", PRECISIONS[:-1]),
            seconds=fields.number("seconds", minimum=0.0),
            workspace=optional_integer(fields, "workspace"),
            warnings=fields.texts("warnings"),
        )


def read_plan(plan: Path, record: Path, key: EngineKey) -> tuple[bytes, PlanRecord]:
    """Read a plan that fits a key and that its record vouches for.

    Raises:
        FileNotFoundError: one of the two files is missing.
        UnusableError: the plan is damaged, or of another graph, version or device.
    """
    try:
        if record.stat().st_size > _LARGEST_BYTES:
            raise UnusableError(f"its record is larger than {_LARGEST_BYTES} bytes")
        kept = PlanRecord.from_json(record.read_text(encoding="utf-8"))
        data = plan.read_bytes()
    except FileNotFoundError:
        raise
    except (OSError, UnicodeDecodeError) as error:
        raise UnusableError(f"it cannot be read: {error}") from error
    if kept.key != key:
        raise UnusableError(f"it was built for {_differences(kept.key, key)}")
    if hashlib.sha256(data).hexdigest() != kept.plan_sha256:
        raise UnusableError("it is damaged: its sha256 is not the one of its record")
    return data, kept


def _differences(kept: EngineKey, wanted: EngineKey) -> str:
    pairs = [(name, getattr(kept, name), getattr(wanted, name)) for name in KEY_FIELDS]
    return ", ".join(f"{name} {old!r} instead of {new!r}" for name, old, new in pairs if old != new)
