"""A table of layers that were measured on a device, as JSON: versioned, read strictly, written whole."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from agfedge_runtime.atomic import write_text
from agfedge_runtime.errors import InputError
from agfedge_runtime.strict_json import Document

if TYPE_CHECKING:
    from agfedge_runtime.strict_json import Fields

SCHEMA = 1
_DOCUMENT = Document("latency table", InputError, "measure it again with `agfedge profile --save-table`")


@dataclass(frozen=True)
class LayerPoint:
    """One layer as it was measured.

    Attributes:
        kind: its operator and shapes without channels, such as ``Conv 3x3 stride 1 of 16x16``.
        channels_in: of its input; 0 for what has none.
        channels_out: of its output.
        macs: multiply-accumulates.
        elements: numbers read and written.
        us: mean microseconds a run, over all layers of that kind and these channels.
        count: how many such layers there were.
    """

    kind: str
    channels_in: int
    channels_out: int
    macs: int
    elements: int
    us: float
    count: int

    @property
    def size(self) -> int:
        """What tells layers of one kind apart: MACs, else elements."""
        return self.macs or self.elements


@dataclass(frozen=True)
class LatencyTable:
    """Layers of one device, in one power mode, backend and precision.

    Attributes:
        device: the profile that fills the gaps, with its power mode: ``jetson-orin-nano-8:super``.
        power_mode: as the device called it; empty where it does not tell.
        backend: what ran the layers.
        backend_version: its version.
        precision: "fp32", "fp16" or "int8".
        threads: CPU threads inside a run.
        bundle_digest: of the bundle whose layers these are.
        run_us: what a run takes beside its layers.
        scale: what all layers took over what the model says of them, for kinds that are not here.
        layers: by kind, then size.
    """

    device: str
    power_mode: str
    backend: str
    backend_version: str
    precision: str
    threads: int
    bundle_digest: str
    run_us: float
    scale: float
    layers: tuple[LayerPoint, ...]

    @cached_property
    def points(self) -> Mapping[str, tuple[LayerPoint, ...]]:
        """By kind, the smallest first; of several layers of one size (other channels, the same product) their mean."""
        found: dict[str, dict[int, list[LayerPoint]]] = {}
        for each in self.layers:
            found.setdefault(each.kind, {}).setdefault(each.size, []).append(each)
        return {kind: tuple(_mean(found[kind][size]) for size in sorted(found[kind])) for kind in found}


def write_table(path: Path, table: LatencyTable) -> None:
    """Writes a table whole.

    Raises:
        InputError: it cannot be written there.
    """
    values = {"schema": SCHEMA, **dataclasses.asdict(table)}
    try:
        write_text(path, json.dumps(values, indent=1, allow_nan=False) + "\n")
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}; choose another place") from error


def read_table(path: str | Path) -> LatencyTable:
    """Reads a table.

    Raises:
        InputError: it cannot be read, or is no table of this release.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"{path} cannot be read: {error.strerror or error}; expected a table of `agfedge profile --save-table`"
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no text: expected a table of `agfedge profile --save-table`") from error
    document = dataclasses.replace(_DOCUMENT, name=str(path))
    keys = ("schema", *(each.name for each in dataclasses.fields(LatencyTable)))
    fields = document.fields(document.parse(text), "", keys)
    if fields.integer("schema") != SCHEMA:
        document.fail("schema", f"expected {SCHEMA}, got {fields.values['schema']}")
    keys = tuple(each.name for each in dataclasses.fields(LayerPoint))
    rows = [document.fields(value, f"layers[{row}]", keys) for row, value in enumerate(fields.array("layers"))]
    return LatencyTable(
        device=fields.text("device"),
        power_mode=document.text(fields.values["power_mode"], "power_mode"),
        backend=fields.text("backend"),
        backend_version=document.text(fields.values["backend_version"], "backend_version"),
        precision=fields.choice("precision", ("fp32", "fp16", "int8")),
        threads=fields.integer("threads", 1),
        bundle_digest=fields.text("bundle_digest"),
        run_us=fields.number("run_us", 0.0),
        scale=_positive(fields, "scale"),
        layers=tuple(_point(row) for row in rows),
    )


def _point(row: Fields) -> LayerPoint:
    return LayerPoint(
        kind=row.text("kind"),
        channels_in=row.integer("channels_in"),
        channels_out=row.integer("channels_out"),
        macs=row.integer("macs"),
        elements=row.integer("elements", 1),
        us=_positive(row, "us"),
        count=row.integer("count", 1),
    )


def _positive(fields: Fields, key: str) -> float:
    value = fields.number(key)
    if value <= 0:
        fields.document.fail(fields.at(key), f"expected more than 0, got {value:g}")
    return value


def _mean(layers: list[LayerPoint]) -> LayerPoint:
    count = sum(each.count for each in layers)
    us = sum(each.us * each.count for each in layers) / count
    return dataclasses.replace(layers[0], us=us, count=count)
