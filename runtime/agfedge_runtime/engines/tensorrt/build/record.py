"""The JSON file beside a plan: what it was built from, and the digest that vouches for it.

It is no header inside of the plan, which trtexec could then not open.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from agfedge_runtime.engines.tensorrt.build.key import KEY_FIELDS, EngineKey
from agfedge_runtime.engines.tensorrt.build.options import PRECISIONS
from agfedge_runtime.errors import AgfedgeError
from agfedge_runtime.strict_json import Document

SCHEMA = 1
_LARGEST_BYTES = 2**16


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
            workspace=None if fields.values["workspace"] is None else fields.integer("workspace"),
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
        found = PlanRecord.from_json(record.read_text(encoding="utf-8"))
        data = plan.read_bytes()
    except FileNotFoundError:
        raise
    except (OSError, UnicodeDecodeError) as error:
        raise UnusableError(f"it cannot be read: {error}") from error
    if found.key != key:
        raise UnusableError(f"it was built for {_differences(found.key, key)}")
    if hashlib.sha256(data).hexdigest() != found.plan_sha256:
        raise UnusableError("it is damaged: its sha256 is not the one of its record")
    return data, found


def _differences(found: EngineKey, wanted: EngineKey) -> str:
    pairs = [(name, getattr(found, name), getattr(wanted, name)) for name in KEY_FIELDS]
    return ", ".join(f"{name} {old!r} instead of {new!r}" for name, old, new in pairs if old != new)
