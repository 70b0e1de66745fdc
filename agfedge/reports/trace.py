"""The decisions of measured runs in the Trace Event Format, which chrome://tracing and Perfetto open.

A decision is a complete event (`ph` "X") on the thread of its run's process, its stages lie inside it one after the
other, in the order in which they run; what the decision took beside them is the rest of it. Events of one thread nest,
as the format wants it. The device's readings are counter events ("C"). Times are microseconds.

Format: https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np

from agfedge_runtime import Branch
from agfedge_runtime.engines.protocol import STAGES
from agfedge_runtime.state.validity import column

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from agfedge.reports.runs import MeasuredRun
    from agfedge_runtime.arrays import Float32Array, Float64Array
    from agfedge_runtime.profile.samples import Samples

    Event = dict[str, object]

_COUNTERS = {"total_w": "power, W", "temperature_c": "temperature, °C", "gpu_mhz": "GPU, MHz", "emc_mhz": "EMC, MHz"}
# What the run made beside each decision, on a thread of its own: its begin is not recorded.
_DECISIONS = 1


def to_trace(runs: Sequence[MeasuredRun]) -> str:
    """Returns the trace as JSON, a process a run.

    Raises:
        InputError: the series of the device's state are malformed.
    """
    events = [event for process, run in enumerate(runs, 1) for event in _events(process, run.name, run.samples)]
    document = {
        "traceEvents": events,
        "displayTimeUnit": "ns",
        "otherData": {run.name: run.samples.bundle_digest for run in runs},
    }
    return json.dumps(document, allow_nan=False, ensure_ascii=False) + "\n"


def _events(process: int, name: str, samples: Samples) -> Iterator[Event]:
    yield _named("process_name", process, name)
    yield _named("thread_name", process, f"decisions on {samples.backend}")
    for number in range(len(samples)):
        yield from _decision(process, samples, number)
    yield from _counters(process, samples)


def _named(kind: str, process: int, name: str) -> Event:
    return {"name": kind, "ph": "M", "pid": process, "tid": _DECISIONS, "args": {"name": name}}


def _decision(process: int, samples: Samples, number: int) -> Iterator[Event]:
    begin, took = 1e6 * float(samples.start_s[number]), float(samples.cascade_us[number])
    branch = Branch(int(samples.branches[number])).name.lower()
    arguments: dict[str, object] = {
        "input": int(samples.input_index[number]),
        "label": int(samples.labels[number]),
    }
    series: dict[str, Float32Array | Float64Array] = {
        "prior": samples.prior,
        "confidence": samples.confidence,
        "heavy alone, us": samples.heavy_us,
        "light alone, us": samples.light_us,
    }
    arguments.update({key: float(values[number]) for key, values in series.items() if np.isfinite(values[number])})
    yield _complete(process, branch, "decision", begin, took, arguments)
    at = begin
    for stage in STAGES:
        times = samples.stage_us.get(stage)
        if times is None or np.isnan(times[number]):
            continue
        # A stage never ends after its decision, by rounding neither: events must nest.
        length = min(float(times[number]), begin + took - at)
        yield _complete(process, stage, "stage", at, max(0.0, length), _parts(samples, stage, number))
        at += max(0.0, length)


def _parts(samples: Samples, stage: str, number: int) -> dict[str, object]:
    """What the device's own clock says of a stage."""
    parts = {key.partition(".")[2]: times for key, times in samples.device_us.items() if key.startswith(f"{stage}.")}
    return {
        f"{part}, us": float(times[number])
        for part, times in parts.items()
        if len(times) > number and not np.isnan(times[number])
    }


def _complete(process: int, name: str, kind: str, begin: float, took: float, arguments: dict[str, object]) -> Event:
    return {
        "name": name, "cat": kind, "ph": "X", "ts": begin, "dur": took, "pid": process, "tid": _DECISIONS,
        "args": arguments,
    }  # fmt: skip


def _counters(process: int, samples: Samples) -> Iterator[Event]:
    series = (samples.state or {}).get("series")
    if not isinstance(series, dict):
        return
    times = column(series, "t_s")
    for key, name in _COUNTERS.items():
        for at, value in zip(times, column(series, key) if key in series else times * np.nan, strict=True):
            if np.isfinite(at) and np.isfinite(value):
                yield {"name": name, "ph": "C", "ts": 1e6 * float(at), "pid": process, "args": {name: float(value)}}
