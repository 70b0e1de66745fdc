"""Measure calls with several inputs each."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from time import perf_counter_ns

import numpy as np

from agfedge_runtime.arrays import AnyArray, Int64Array
from agfedge_runtime.cascade.cascade import Cascade
from agfedge_runtime.errors import InputError
from agfedge_runtime.profile.record import BATCHES
from agfedge_runtime.profile.recorder import Recorder

COLUMNS = ("cascade_us", "light_us", "heavy_us")
_LEAST = 2


def check_batch(cascade: Cascade, size: int) -> None:
    """Refuse a batch that is none, or that the engines would take in pieces.

    Raises:
        InputError: it is such.
    """
    if size < _LEAST:
        raise InputError(f"--batch is {size}: expected 2 or more; one input a call is measured in any case")
    most = min(getattr(engine, "most_rows", size) for engine in cascade.engines.values())
    if size > most:
        raise InputError(
            f"--batch is {size}: expected at most {most}, which the engines here take at once; give {most} or less"
        )


def record_batches(
    cascade: Cascade,
    inputs: AnyArray,
    order: Int64Array,
    size: int,
    recorder: Recorder,
    *,
    calls: int,
    warmup: int,
    min_seconds: float,
) -> None:
    """Time calls of the cascade and of either expert alone on the same batches, in turn.

    Args:
        cascade: what to measure.
        inputs: (N, ...).
        order: int64 (M,), which of them follow each other; from the first again after the last.
        size: inputs a call.
        recorder: takes every call.
        calls: how many to make at least.
        warmup: how many more to make and forget at first.
        min_seconds: go on until this much time has passed, too.

    Raises:
        InputError: the batch is none, or larger than the engines take.
        NotFiniteError: an expert answered NaN or infinity.
    """
    check_batch(cascade, size)
    parts: dict[str, Callable[[AnyArray], object]] = {
        "cascade_us": cascade,
        "light_us": cascade.light,
        "heavy_us": cascade.heavy,
    }
    turns = list(itertools.permutations(parts))

    def call(step: int) -> list[float]:
        rows = np.take(order, range(step * size, (step + 1) * size), mode="wrap")
        x = inputs[rows]
        times_us: dict[str, float] = {}
        for name in turns[step % len(turns)]:
            part = parts[name]
            started = perf_counter_ns()
            part(x)
            times_us[name] = (perf_counter_ns() - started) / 1e3
        return [times_us[name] for name in COLUMNS]

    for step in range(warmup):
        call(step)
    recorder.section(BATCHES, COLUMNS, {"size": size})
    stop = perf_counter_ns() + min_seconds * 1e9
    step = 0
    while step < calls or perf_counter_ns() < stop:
        recorder.add(call(step))
        step += 1
