"""The raw samples of one measurement, and their JSON."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from agfedge_runtime.arrays import AnyArray, Float32Array, Float64Array, Int64Array, UInt8Array
from agfedge_runtime.bundle.router import Branch
from agfedge_runtime.errors import InputError
from agfedge_runtime.strict_json import Document, Fields, shorten

SCHEMA = 2

_DOCUMENT = Document("samples", InputError, "measure again with this release")
# The arrays of `Samples`.
ARRAYS: dict[str, np.dtype[np.generic]] = {
    "input_index": np.dtype(np.int64),
    "labels": np.dtype(np.int64),
    "branches": np.dtype(np.uint8),
    "prior": np.dtype(np.float32),
    "confidence": np.dtype(np.float32),
    "heavy_labels": np.dtype(np.int64),
    "light_labels": np.dtype(np.int64),
    "cascade_us": np.dtype(np.float64),
    "light_us": np.dtype(np.float64),
    "heavy_us": np.dtype(np.float64),
    "prior_us": np.dtype(np.float64),
    "trunk_us": np.dtype(np.float64),
    "start_s": np.dtype(np.float64),
}


@dataclass(frozen=True, eq=False)
class RateSamples:
    """What was seen when inputs came at a fixed rate, as from a camera; m decisions, one element each.

    Attributes:
        fps: inputs a second.
        queue: how many may wait; an input that comes when so many wait is dropped, and so is none else.
        dropped: how many were.
        latency_us: float64 (m,), from the scheduled arrival to the answer, so that waiting counts.
        service_us: float64 (m,), the cascade's call alone.
        branches: uint8 (m,), values of `Branch`.
    """

    fps: float
    queue: int
    dropped: int
    latency_us: Float64Array
    service_us: Float64Array
    branches: UInt8Array


@dataclass(frozen=True, eq=False)
class BatchSamples:
    """What was seen in k calls with several inputs each, one element a call.

    Attributes:
        size: inputs a call.
        cascade_us: float64 (k,), microseconds of the cascade's whole call.
        light_us: float64 (k,), of the light expert alone.
        heavy_us: float64 (k,), of the heavy expert alone.
    """

    size: int
    cascade_us: Float64Array
    light_us: Float64Array
    heavy_us: Float64Array


@dataclass(frozen=True, eq=False)
class Layer:
    """What a backend's profiler says of one layer.

    Attributes:
        name: as the backend calls it: a node of the graph, or several that were fused.
        us: microseconds a run, on average.
    """

    name: str
    us: float


@dataclass(frozen=True, eq=False)
class Samples:
    """What was seen in n decisions at batch 1, one element each; nothing is summarised.

    Attributes:
        bundle_digest: of the bundle that was measured.
        backend: what ran it.
        threads: CPU threads inside one run.
        input_index: int64, which input it was.
        labels: int64, what the cascade answered.
        branches: uint8, values of `Branch`.
        prior: float32; NaN where the cascade did not compute it.
        confidence: float32; NaN where the light expert did not run in the cascade.
        heavy_labels: int64, what the heavy expert alone answered.
        light_labels: int64, what the light expert alone answered.
        cascade_us: float64, microseconds of the cascade's whole call.
        light_us: float64, microseconds of the light expert alone, with its confidence.
        heavy_us: float64, microseconds of the heavy expert alone.
        prior_us: float64, microseconds of the prior alone, or of trunk and prior together where the experts share a
            trunk; NaN where the bundle has no prior.
        trunk_us: float64, microseconds of the trunk alone; NaN where the experts share none. The light and the heavy
            expert's times hold it, too.
        start_s: float64, seconds from the beginning of the run to the cascade's call.
        stage_us: what the cascade's call ran, by `STAGES`: float64 (n,), microseconds of each engine's run as the host
            sees it, NaN where it did not run. What the call took beside them is the decision's overhead.
        device_us: parts of a stage by the device's own clock, as ``heavy.copy_in``, ``heavy.compute`` and
            ``heavy.copy_out``: float64 (n,), NaN where the stage did not run. Empty where the backend does not tell.
        rate: of a run at a fixed rate, if there was one.
        batches: of calls with several inputs, if there were any.
        layers: by stage, of a run with the backend's profiler; empty where it has none.
        state: the device's power mode, clocks, temperatures and power before, during and after, as
            `agfedge_runtime.state` writes it; None where it was not looked at.
        complete: False where the run was cut short; what was recorded until then is here.
        environment: where it ran: python, numpy, system, machine, processors, backend_version; why it was that
            backend: backend_reason; what the graphs computed in: precision; of the inputs: order; and device, the
            profile of a Jetson module.
    """

    bundle_digest: str
    backend: str
    threads: int
    input_index: Int64Array
    labels: Int64Array
    branches: UInt8Array
    prior: Float32Array
    confidence: Float32Array
    heavy_labels: Int64Array
    light_labels: Int64Array
    cascade_us: Float64Array
    light_us: Float64Array
    heavy_us: Float64Array
    prior_us: Float64Array
    trunk_us: Float64Array
    start_s: Float64Array
    stage_us: Mapping[str, Float64Array]
    environment: Mapping[str, str | int]
    device_us: Mapping[str, Float64Array] = field(default_factory=dict)
    rate: RateSamples | None = None
    batches: BatchSamples | None = None
    layers: Mapping[str, tuple[Layer, ...]] = field(default_factory=dict)
    state: Mapping[str, object] | None = None
    complete: bool = True

    def __len__(self) -> int:
        return len(self.labels)

    def to_json(self) -> str:
        """The samples as JSON; NaN becomes null, every other number comes back exactly."""
        values = {each.name: getattr(self, each.name) for each in dataclasses.fields(self)}
        values.update({name: _listed(values[name]) for name in ARRAYS})
        values["environment"] = dict(self.environment)
        for name in ("stage_us", "device_us"):
            values[name] = {key: _listed(each) for key, each in getattr(self, name).items()}
        for name in ("rate", "batches"):
            values[name] = None if values[name] is None else _plain(values[name])
        values["layers"] = {stage: [_plain(layer) for layer in layers] for stage, layers in self.layers.items()}
        values["state"] = None if self.state is None else dict(self.state)
        return json.dumps({"schema": SCHEMA, **values}, sort_keys=True, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Samples:
        """Read samples strictly.

        Raises:
            InputError: not JSON, or a key that is unknown, missing, mistyped or of another length.
        """
        return cls.from_document(_DOCUMENT.parse(text))

    @classmethod
    def from_document(cls, document: object) -> Samples:
        """Read what `to_json` writes, as plain values; raises as `from_json` does."""
        keys = ("schema", *(each.name for each in dataclasses.fields(cls)))
        fields = _DOCUMENT.fields(document, "", keys)
        if fields.integer("schema") != SCHEMA:
            _DOCUMENT.fail("schema", f"expected {SCHEMA}, got {shorten(fields.values['schema'])}")
        count = len(fields.array("labels"))
        return cls(
            bundle_digest=_DOCUMENT.text(fields.values["bundle_digest"], "bundle_digest"),
            backend=fields.text("backend"),
            threads=fields.integer("threads", 1),
            **{name: _array(fields, name, count, dtype) for name, dtype in ARRAYS.items()},
            stage_us=_by_name(fields, "stage_us", count),
            device_us=_by_name(fields, "device_us", count),
            rate=_rate(fields),
            batches=_batches(fields),
            layers=_layers(fields),
            state=None if fields.values["state"] is None else fields.mapping("state"),
            complete=fields.flag("complete"),
            environment=_environment(fields),
        )


def _listed(array: AnyArray) -> list[int | float | None]:
    values: list[int | float] = array.tolist()
    return [None if isinstance(value, float) and math.isnan(value) else value for value in values]


def _counted(fields: Fields, key: str, count: int) -> list[object]:
    values = fields.array(key)
    if len(values) != count:
        _DOCUMENT.fail(key, f"expected {count} values as in labels, got {len(values)}")
    return values


def _array(fields: Fields, key: str, count: int, dtype: np.dtype[np.generic]) -> Any:
    """Numbers, with NaN for null, or integers from 0 up; bytes are values of `Branch`."""
    if dtype.kind == "f":
        return _floats(fields, key, count).astype(dtype)
    most = max(Branch) if dtype == np.uint8 else np.iinfo(np.int64).max
    return np.array([_DOCUMENT.integer(value, key, 0, most) for value in _counted(fields, key, count)], dtype)


def _floats(fields: Fields, key: str, count: int) -> Float64Array:
    values = _counted(fields, key, count)
    return np.array([math.nan if value is None else _DOCUMENT.number(value, key) for value in values], np.float64)


def _plain(value: RateSamples | BatchSamples | Layer) -> dict[str, object]:
    found = {each.name: getattr(value, each.name) for each in dataclasses.fields(value)}
    return {name: _listed(each) if isinstance(each, np.ndarray) else each for name, each in found.items()}


def _by_name(fields: Fields, key: str, count: int) -> dict[str, Float64Array]:
    values = fields.mapping(key)
    inner = _DOCUMENT.fields(values, key, tuple(values))
    return {name: _floats(inner, name, count) for name in values}


def _rate(fields: Fields) -> RateSamples | None:
    if fields.values["rate"] is None:
        return None
    inner = fields.fields("rate", tuple(each.name for each in dataclasses.fields(RateSamples)))
    count = len(inner.array("branches"))
    return RateSamples(
        fps=inner.number("fps", 0.0),
        queue=inner.integer("queue", 1),
        dropped=inner.integer("dropped"),
        latency_us=_floats(inner, "latency_us", count),
        service_us=_floats(inner, "service_us", count),
        branches=_array(inner, "branches", count, ARRAYS["branches"]),
    )


def _batches(fields: Fields) -> BatchSamples | None:
    if fields.values["batches"] is None:
        return None
    inner = fields.fields("batches", tuple(each.name for each in dataclasses.fields(BatchSamples)))
    count = len(inner.array("cascade_us"))
    times = {name: _floats(inner, name, count) for name in ("cascade_us", "light_us", "heavy_us")}
    return BatchSamples(size=inner.integer("size", 2), **times)


def _layers(fields: Fields) -> dict[str, tuple[Layer, ...]]:
    found = {}
    for stage, values in fields.mapping("layers").items():
        path = f"layers.{stage}"
        rows = [_DOCUMENT.fields(value, path, ("name", "us")) for value in _DOCUMENT.array(values, path)]
        found[stage] = tuple(Layer(row.text("name"), row.number("us", 0.0)) for row in rows)
    return found


def _environment(fields: Fields) -> dict[str, str | int]:
    found: dict[str, str | int] = {}
    for key, value in fields.mapping("environment").items():
        path = f"environment.{key}"
        found[key] = value if isinstance(value, str) else _DOCUMENT.integer(value, path)
    return found
