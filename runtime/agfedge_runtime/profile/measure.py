"""Measure a cascade beside its parts, one decision at a time.

Inputs come in such an order that as many escalate as would where the cascade was calibrated.
"""

from __future__ import annotations

import itertools
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import perf_counter_ns
from typing import cast

import numpy as np

from agfedge_runtime.arrays import AnyArray, Float32Array, Int64Array, UInt8Array
from agfedge_runtime.bundle.router import Branch, Reference
from agfedge_runtime.cascade.cascade import Cascade
from agfedge_runtime.cascade.decisions import Decisions
from agfedge_runtime.errors import InputError
from agfedge_runtime.machine.machine import processors, read_machine
from agfedge_runtime.profile.record import DECISIONS, decision_columns
from agfedge_runtime.profile.recorder import Recorder
from agfedge_runtime.profile.samples import Samples
from agfedge_runtime.profile.stopwatch import Stopwatch

__all__ = ["Samples", "header_of", "measure", "record_decisions"]
# Shares come out to a thousandth, and a run of the usual length hardly repeats itself.
_DRAWN = 2000


@dataclass(frozen=True, eq=False)
class Order:
    """Inputs to take one after the other, and from the first again after the last.

    Attributes:
        index: int64 (M,), which input.
        described: in words.
    """

    index: Int64Array
    described: str


def shuffled(count: int, seed: int, what: str = "the inputs as given") -> Order:
    """Every input once.

    Args:
        count: how many there are.
        seed: of the shuffle.
        what: they are, in words.

    Raises:
        InputError: the seed is negative.
    """
    index = np.arange(count, dtype=np.int64)
    _random(seed).shuffle(index)
    return Order(index, f"{what}, shuffled by seed {seed}")


def drawn_by_branch(branches: UInt8Array, reference: Reference | None, seed: int) -> Order:
    """Inputs that were chosen to cover every branch, in the proportions of calibration.

    Args:
        branches: uint8 (N,), which way each input goes.
        reference: how often calibration escalated; None where that is not known, so that every input comes once.
        seed: of the draw.

    Raises:
        InputError: the seed is negative.
    """
    if reference is None:
        return shuffled(
            len(branches),
            seed,
            "golden inputs as they are, since the bundle does not say how often calibration escalated",
        )
    rates = {Branch.EARLY: reference.early, Branch.LATE: reference.late}
    rates[Branch.LIGHT] = max(0.0, 1.0 - sum(rates.values()))
    members = {branch: np.flatnonzero(branches == branch) for branch in rates}
    missing = [branch.name.lower() for branch, rate in rates.items() if rate > 0 and not len(members[branch])]
    shares = {branch: rate if len(members[branch]) else 0.0 for branch, rate in rates.items()}
    total = sum(shares.values())
    if total == 0:
        return shuffled(len(branches), seed, "golden inputs as they are, since none goes a way that calibration's went")
    random = _random(seed)
    parts = []
    for branch, share in shares.items():
        count = round(_DRAWN * share / total)
        if count:
            parts.append(np.resize(random.permutation(members[branch]), count))
    index = np.concatenate(parts).astype(np.int64)
    random.shuffle(index)
    described = ", ".join(f"{shares[branch] / total:.1%} {branch.name.lower()}" for branch in Branch)
    lacking = f"; there is none for {' and '.join(missing)}" if missing else ""
    return Order(index, f"golden inputs drawn by branch as in calibration ({described}{lacking}) by seed {seed}")


def _random(seed: int) -> np.random.Generator:
    if seed < 0:
        raise InputError(f"--seed is {seed}: expected 0 or more")
    return np.random.default_rng(seed)


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
    recorder = Recorder(header_of(cascade))
    order = np.arange(len(inputs), dtype=np.int64)
    record_decisions(
        cascade, inputs, order, recorder, decisions=decisions, warmup=warmup, min_seconds=min_seconds, progress=progress
    )
    return recorder.end(complete=True)


def record_decisions(
    cascade: Cascade,
    inputs: AnyArray,
    order: Int64Array,
    recorder: Recorder,
    *,
    decisions: int,
    warmup: int,
    min_seconds: float,
    progress: Callable[[int], object] | None = None,
    began: Callable[[float], object] | None = None,
) -> None:
    """As `measure`, into a recorder.

    Interleaving lets whatever disturbs the machine disturb all parts alike. Their order goes through every permutation,
    so that each is preceded by each of the others equally often.

    Args:
        cascade: what to measure.
        inputs: (N, ...).
        order: int64 (M,), which of them to take one after the other, and from the first again after the last.
        recorder: takes every decision.
        decisions: as in `measure`.
        warmup: likewise.
        min_seconds: likewise.
        progress: likewise.
        began: told, in seconds of `time.perf_counter`, when the run begins; what is warmed up comes before.

    Raises:
        InputError: `inputs` do not fit the bundle, or `decisions` is below 1.
        NotFiniteError: an expert answered NaN or infinity.
    """
    if decisions < 1 or warmup < 0:
        raise InputError(f"got {decisions} decisions and {warmup} to warm up, expected at least 1 and 0")
    cascade.check(inputs)
    with Stopwatch(cascade) as stopwatch:
        steps = _Steps(cascade, stopwatch, inputs, order)
        for step in range(warmup):
            steps.decide(step, 0)
        recorder.section(DECISIONS, decision_columns(stopwatch.stages, stopwatch.device_parts))
        began_ns = perf_counter_ns()
        if began is not None:
            began(began_ns / 1e9)
        stop = began_ns + min_seconds * 1e9
        step = 0
        while step < decisions or perf_counter_ns() < stop:
            recorder.add(steps.decide(step, began_ns))
            step += 1
            if progress is not None:
                progress(1)


def header_of(cascade: Cascade, order: Order | None = None) -> dict[str, object]:
    """What is measured and where, as `RunRecord` has it.

    Args:
        cascade: what is measured.
        order: of its inputs, if they are not taken as they are.
    """
    environment: dict[str, str | int] = {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "system": platform.system(),
        "machine": platform.machine(),
        "processors": processors(),
        "backend_version": cascade.backend_version,
        "backend_reason": cascade.backend_reason,
        "precision": cascade.precision,
    }
    module = read_machine().profile
    if module is not None:
        environment["device"] = module
    if order is not None:
        environment["order"] = order.described
    return {
        "bundle_digest": cascade.digest,
        "backend": cascade.backend,
        "threads": cascade.threads,
        "environment": environment,
    }


class _Steps:
    """Makes decisions, and asks each part of the cascade for the same input."""

    def __init__(self, cascade: Cascade, stopwatch: Stopwatch, inputs: AnyArray, order: Int64Array) -> None:
        self._stopwatch, self._inputs, self._order = stopwatch, inputs, order
        self._parts: dict[str, Callable[[AnyArray], object]] = {
            "heavy": cascade.heavy,
            "light": cascade.light,
            "cascade": stopwatch.cascade,
        }
        if cascade.has_prior:
            self._parts["prior"] = cascade.prior
        if cascade.has_trunk:
            self._parts["trunk"] = cascade.trunk
        self._turns = list(itertools.permutations(self._parts))

    def decide(self, step: int, began_ns: int) -> tuple[object, ...]:
        """One decision; returns its row."""
        index = int(self._order[step % len(self._order)])
        x = self._inputs[index : index + 1]
        answers: dict[str, object] = {}
        times_us: dict[str, float] = {}
        start_s = 0.0
        stage_us: Mapping[str, float] = {}
        device_us: Mapping[str, float] = {}
        for name in self._turns[step % len(self._turns)]:
            part = self._parts[name]
            # What the parts left behind is not the cascade's.
            if name == "cascade":
                self._stopwatch.take()
            started = perf_counter_ns()
            answer = part(x)
            times_us[name] = (perf_counter_ns() - started) / 1e3
            answers[name] = answer
            if name == "cascade":
                start_s = (started - began_ns) / 1e9
                stage_us, device_us = self._stopwatch.take()
        decisions = cast(Decisions, answers["cascade"])
        # In the order of `decision_columns`. A tuple of numbers is nothing that Python's garbage collector looks at.
        return (
            index,
            int(decisions.labels[0]),
            int(decisions.branches[0]),
            _number(float(decisions.prior[0])),
            _number(float(decisions.confidence[0])),
            int(cast("Float32Array", answers["heavy"]).argmax()),
            int(cast("Float32Array", answers["light"]).argmax()),
            times_us["cascade"],
            times_us["light"],
            times_us["heavy"],
            times_us.get("prior"),
            times_us.get("trunk"),
            start_s,
            *(stage_us.get(each) for each in self._stopwatch.stages),
            *(device_us.get(each) for each in self._stopwatch.device_parts),
        )


def _number(value: float) -> float | None:
    return None if np.isnan(value) else value
