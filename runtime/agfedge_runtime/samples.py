"""The raw samples of one measurement, and their JSON."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from agfedge_runtime.arrays import AnyArray, Float32Array, Float64Array, Int64Array, UInt8Array
from agfedge_runtime.decisions import Branch
from agfedge_runtime.errors import InputError
from agfedge_runtime.strict_json import Document, Fields, shorten

SCHEMA = 1

_DOCUMENT = Document("samples", InputError, "measure again with this release")
_ARRAYS: dict[str, np.dtype[np.generic]] = {
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
}


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
        environment: where it ran: python, numpy, system, machine, processors, backend_version; why it was that
            backend: backend_reason; and what the graphs computed in: precision.
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
    environment: Mapping[str, str | int]

    def __len__(self) -> int:
        return len(self.labels)

    def to_json(self) -> str:
        """The samples as JSON; NaN becomes null, every other number comes back exactly."""
        values = {each.name: getattr(self, each.name) for each in dataclasses.fields(self)}
        values.update({name: _listed(values[name]) for name in _ARRAYS})
        values["environment"] = dict(self.environment)
        return json.dumps({"schema": SCHEMA, **values}, sort_keys=True, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Samples:
        """Read samples strictly.

        Raises:
            InputError: not JSON, or a key that is unknown, missing, mistyped or of another length.
        """
        keys = ("schema", *(each.name for each in dataclasses.fields(cls)))
        fields = _DOCUMENT.fields(_DOCUMENT.parse(text), "", keys)
        if fields.integer("schema") != SCHEMA:
            _DOCUMENT.fail("schema", f"expected {SCHEMA}, got {shorten(fields.values['schema'])}")
        count = len(fields.array("labels"))
        return cls(
            bundle_digest=_DOCUMENT.text(fields.values["bundle_digest"], "bundle_digest"),
            backend=fields.text("backend"),
            threads=fields.integer("threads", 1),
            input_index=_integers(fields, "input_index", count),
            labels=_integers(fields, "labels", count),
            branches=_integers(fields, "branches", count, max(Branch)).astype(np.uint8),
            prior=_floats(fields, "prior", count).astype(np.float32),
            confidence=_floats(fields, "confidence", count).astype(np.float32),
            heavy_labels=_integers(fields, "heavy_labels", count),
            light_labels=_integers(fields, "light_labels", count),
            cascade_us=_floats(fields, "cascade_us", count),
            light_us=_floats(fields, "light_us", count),
            heavy_us=_floats(fields, "heavy_us", count),
            prior_us=_floats(fields, "prior_us", count),
            trunk_us=_floats(fields, "trunk_us", count),
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


def _integers(fields: Fields, key: str, count: int, maximum: int = 2**63 - 1) -> Int64Array:
    values = [_DOCUMENT.integer(value, key, 0, maximum) for value in _counted(fields, key, count)]
    return np.array(values, np.int64)


def _floats(fields: Fields, key: str, count: int) -> Float64Array:
    values = _counted(fields, key, count)
    return np.array([math.nan if value is None else _DOCUMENT.number(value, key) for value in values], np.float64)


def _environment(fields: Fields) -> dict[str, str | int]:
    found: dict[str, str | int] = {}
    for key, value in fields.mapping("environment").items():
        path = f"environment.{key}"
        found[key] = value if isinstance(value, str) else _DOCUMENT.integer(value, path)
    return found
