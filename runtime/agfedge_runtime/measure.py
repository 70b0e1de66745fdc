"""Measure a cascade beside its parts, one decision at a time."""

from __future__ import annotations

import itertools
import platform
from collections.abc import Callable, Mapping, Sequence
from time import perf_counter_ns
from typing import NamedTuple, cast

import numpy as np

from agfedge_runtime.arrays import AnyArray, Float32Array, Float64Array, Int64Array
from agfedge_runtime.cascade import Cascade
from agfedge_runtime.decisions import Decisions
from agfedge_runtime.errors import InputError
from agfedge_runtime.machine import processors
from agfedge_runtime.samples import Samples

__all__ = ["Samples", "measure"]


def measure(
    cascade: Cascade,
    inputs: AnyArray,
    *,
    decisions: int = 600,
    warmup: int = 50,
    min_seconds: float = 0.0,
    progress: Callable[[int], object] | None = None,
) -> Samples:
    """Time heavy, light, prior and trunk alone and the cascade on the same inputs, in one interleaved run.

    Interleaving lets whatever disturbs the machine disturb all of them alike. The order goes through every
    permutation, so that each is preceded by each of the others equally often.

    Args:
        cascade: what to measure.
        inputs: (N, ...); taken one by one, and from the first again when they run out.
        decisions: how many to make at least.
        warmup: how many more to make and forget at first.
        min_seconds: go on until this much time has passed, too.
        progress: called with the number of decisions just made, outside the timed parts (`tqdm.update` fits).

    Returns:
        The raw samples.

    Raises:
        InputError: `inputs` do not fit the bundle, or `decisions` is below 1.
        NotFiniteError: an expert answered NaN or infinity.
    """
    if decisions < 1 or warmup < 0:
        raise InputError(f"got {decisions} decisions and {warmup} to warm up, expected at least 1 and 0")
    cascade.check(inputs)
    parts = _parts(cascade)
    orders = list(itertools.permutations(parts))
    for step in range(warmup):
        _decide(parts, orders[step % len(orders)], inputs, step, 0)
    rows: list[_Row] = []
    began = perf_counter_ns()
    stop = began + min_seconds * 1e9
    while len(rows) < decisions or perf_counter_ns() < stop:
        rows.append(_decide(parts, orders[len(rows) % len(orders)], inputs, len(rows), began))
        if progress is not None:
            progress(1)
    return _samples(cascade, rows)


class _Row(NamedTuple):
    """One decision and what the parts said to the same input."""

    input_index: int
    decisions: Decisions
    heavy_label: int
    light_label: int
    times_us: Mapping[str, float]
    start_s: float


def _parts(cascade: Cascade) -> dict[str, Callable[[AnyArray], object]]:
    parts: dict[str, Callable[[AnyArray], object]] = {
        "heavy": cascade.heavy,
        "light": cascade.light,
        "cascade": cascade,
    }
    if cascade.has_prior:
        parts["prior"] = cascade.prior
    if cascade.has_trunk:
        parts["trunk"] = cascade.trunk
    return parts


def _decide(
    parts: Mapping[str, Callable[[AnyArray], object]], order: Sequence[str], inputs: AnyArray, step: int, began: int
) -> _Row:
    index = step % len(inputs)
    x = inputs[index : index + 1]
    answers: dict[str, object] = {}
    times_us: dict[str, float] = {}
    start_s = 0.0
    for name in order:
        part = parts[name]
        started = perf_counter_ns()
        answer = part(x)
        if name == "cascade":
            start_s = (started - began) / 1e9
        times_us[name] = (perf_counter_ns() - started) / 1e3
        answers[name] = answer
    return _Row(
        input_index=index,
        decisions=cast(Decisions, answers["cascade"]),
        heavy_label=int(cast("Float32Array", answers["heavy"]).argmax()),
        light_label=int(cast("Float32Array", answers["light"]).argmax()),
        times_us=times_us,
        start_s=start_s,
    )


def _samples(cascade: Cascade, rows: Sequence[_Row]) -> Samples:
    return Samples(
        bundle_digest=cascade.digest,
        backend=cascade.backend,
        threads=cascade.threads,
        input_index=_integers([row.input_index for row in rows]),
        labels=np.concatenate([row.decisions.labels for row in rows]),
        branches=np.concatenate([row.decisions.branches for row in rows]),
        prior=np.concatenate([row.decisions.prior for row in rows]),
        confidence=np.concatenate([row.decisions.confidence for row in rows]),
        heavy_labels=_integers([row.heavy_label for row in rows]),
        light_labels=_integers([row.light_label for row in rows]),
        cascade_us=_times(rows, "cascade"),
        light_us=_times(rows, "light"),
        heavy_us=_times(rows, "heavy"),
        prior_us=_times(rows, "prior"),
        trunk_us=_times(rows, "trunk"),
        start_s=np.array([row.start_s for row in rows], np.float64),
        stage_us={},
        environment=_environment(cascade),
    )


def _integers(values: Sequence[int]) -> Int64Array:
    return np.array(values, np.int64)


def _times(rows: Sequence[_Row], name: str) -> Float64Array:
    return np.array([row.times_us.get(name, np.nan) for row in rows], np.float64)


def _environment(cascade: Cascade) -> dict[str, str | int]:
    return {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "system": platform.system(),
        "machine": platform.machine(),
        "processors": processors(),
        "backend_version": cascade.backend_version,
        "backend_reason": cascade.backend_reason,
        "precision": cascade.precision,
    }
