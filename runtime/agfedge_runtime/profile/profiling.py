"""A profile: every measurement that was asked for, one after the other, with the device's state around them."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, isfinite

from agfedge_runtime.arrays import AnyArray
from agfedge_runtime.bundle.bundle import Bundle
from agfedge_runtime.bundle.golden import load_golden
from agfedge_runtime.cascade.cascade import Cascade
from agfedge_runtime.errors import InputError
from agfedge_runtime.profile.batches import check_batch, record_batches
from agfedge_runtime.profile.measure import Order, drawn_by_branch, header_of, record_decisions, shuffled
from agfedge_runtime.profile.rate import MonotonicClock, check_rate, record_rate
from agfedge_runtime.profile.recorder import Recorder
from agfedge_runtime.profile.samples import Samples
from agfedge_runtime.profile.stopwatch import layer_times
from agfedge_runtime.state import IdlePower, StateSampler, measure_idle
from agfedge_runtime.state.validity import WATCHED
from agfedge_runtime.stopping import Stopping, Terminated

_log = logging.getLogger(__name__)

DECISIONS = 600
SECONDS = 5.0
WARMUP = 50
QUEUE = 1


@dataclass(frozen=True)
class Asked:
    """What to measure, beside the cascade's single stream.

    Attributes:
        decisions: how many to make at least; None for 600, or every input once where there are more.
        seconds: how long to go on at least; None for 5, or for no time where decisions were asked for.
        warmup: how many decisions to make and forget at first.
        seed: of the order of inputs.
        rate: inputs a second, of a run at a fixed rate; None for none.
        queue: how many inputs may wait in it; None for 1.
        batch: inputs a call, of calls with several; None for none.
        layers: whether to have the backend's profiler time layers.
        state: whether to look at the device's state.
        lock_clocks: whether the clocks are locked meanwhile; whoever measures does that.

    Raises:
        InputError: a number makes no sense.
    """

    decisions: int | None = None
    seconds: float | None = None
    warmup: int = WARMUP
    seed: int = 0
    rate: float | None = None
    queue: int | None = None
    batch: int | None = None
    layers: bool = False
    state: bool = True
    lock_clocks: bool = False

    def __post_init__(self) -> None:
        if self.decisions is not None and self.decisions < 1:
            raise InputError(f"--decisions is {self.decisions}: expected 1 or more")
        if self.seconds is not None and not (self.seconds >= 0 and isfinite(self.seconds)):
            raise InputError(f"--time is {self.seconds:g}: expected 0 or more")
        for name, value in (("--warmup", self.warmup), ("--seed", self.seed)):
            if value < 0:
                raise InputError(f"{name} is {value}: expected 0 or more")
        if self.rate is not None:
            check_rate(self.rate, self.places)
        elif self.queue is not None:
            raise InputError(f"--queue is {self.queue} without a rate: give --rate, too")
        if self.batch is not None and self.batch < 2:
            raise InputError(f"--batch is {self.batch}: expected 2 or more; one input a call is measured in any case")

    @property
    def places(self) -> int:
        """How many inputs may wait at a fixed rate."""
        return QUEUE if self.queue is None else self.queue

    @property
    def least_seconds(self) -> float:
        """How long each measurement goes on at least."""
        if self.seconds is None:
            return SECONDS if self.decisions is None else 0.0
        return self.seconds

    def least_decisions(self, inputs: int) -> int:
        """How many decisions are made at least, where there are so many inputs."""
        return max(DECISIONS, inputs) if self.decisions is None else self.decisions


def profile(
    bundle: Bundle,
    cascade: Cascade,
    data: AnyArray | None,
    asked: Asked,
    writers: Sequence[Callable[[str], object]] = (),
    progress: Callable[[int], object] | None = None,
) -> Samples:
    """Measure a bundle.

    A signal to stop (SIGINT, SIGTERM) lets a decision that is being made come to its end, and ends the measurement.

    Args:
        bundle: what is measured.
        cascade: of that bundle, without a monitor.
        data: (N, ...) inputs as the bundle's says; None for its golden ones.
        asked: what to measure.
        writers: what takes the record's lines while they come, see `Recorder`.
        progress: called with the number of decisions just made.

    Returns:
        The samples; not `complete` where the measurement was stopped.

    Raises:
        InputError: the inputs, or the batch, do not fit.
        BundleMissingFileError: there are no golden inputs.
        NotFiniteError: an expert answered NaN or infinity.
        KeyboardInterrupt: it was stopped before the first decision.
    """
    inputs, order = _inputs(bundle, cascade, data, asked.seed)
    cascade.check(inputs)
    if asked.batch is not None:
        check_batch(cascade, asked.batch)
    with contextlib.ExitStack() as opened:
        stopping = opened.enter_context(Stopping())

        def checkpoint() -> None:
            stopping.unshield()
            stopping.shield()

        recorder = Recorder(header_of(cascade, order), writers, checkpoint)
        sampler = _sampler(cascade, asked)
        idle = measure_idle() if asked.state else None
        complete = True
        try:
            stopping.shield()
            with contextlib.nullcontext() if sampler is None else sampler:
                _measure(cascade, inputs, order, asked, recorder, progress, sampler)
            stopping.unshield()
            if asked.layers:
                # After the state was looked at: the profiler's own work is none that a decision pays for.
                _record_layers(cascade, inputs, recorder)
        except (KeyboardInterrupt, Terminated) as error:
            if recorder.record.decisions == 0:
                raise KeyboardInterrupt from error
            complete = False
        return recorder.end(complete, None if sampler is None else {**sampler.to_dict(), "idle": _plain(idle)})


def _plain(idle: IdlePower | None) -> dict[str, float] | None:
    return None if idle is None else dataclasses.asdict(idle)


def _sampler(cascade: Cascade, asked: Asked) -> StateSampler | None:
    if not asked.state:
        return None
    # A GPU that has nothing to do clocks down.
    watch = tuple(each for each in WATCHED if each != "gpu" or cascade.backend != "onnxruntime")
    return StateSampler(locked=asked.lock_clocks, watch=watch)


def _measure(
    cascade: Cascade,
    inputs: AnyArray,
    order: Order,
    asked: Asked,
    recorder: Recorder,
    progress: Callable[[int], object] | None,
    sampler: StateSampler | None,
) -> None:
    def began(moment_s: float) -> None:
        if sampler is not None:
            sampler.origin_s = moment_s

    least, seconds = asked.least_decisions(len(inputs)), asked.least_seconds
    record_decisions(
        cascade,
        inputs,
        order.index,
        recorder,
        decisions=least,
        warmup=asked.warmup,
        min_seconds=seconds,
        progress=progress,
        began=began,
    )
    if asked.rate is not None:
        arrivals = max(least, ceil(seconds * asked.rate))
        record_rate(_by_number(cascade, inputs, order), asked.rate, asked.places, arrivals, recorder, MonotonicClock())
    if asked.batch is not None:
        calls, warmup = ceil(least / asked.batch), ceil(asked.warmup / asked.batch)
        record_batches(
            cascade, inputs, order.index, asked.batch, recorder, calls=calls, warmup=warmup, min_seconds=seconds
        )


def _record_layers(cascade: Cascade, inputs: AnyArray, recorder: Recorder) -> None:
    found = layer_times(cascade, inputs[:1])
    if not found:
        _log.warning(
            "the backend %s does not tell how long layers take: there are none in the samples", cascade.backend
        )
    recorder.layers(found)


def _by_number(cascade: Cascade, inputs: AnyArray, order: Order) -> Callable[[int], int]:
    def decide(number: int) -> int:
        index = order.index[number % len(order.index)]
        return int(cascade(inputs[index : index + 1]).branches[0])

    return decide


def _inputs(bundle: Bundle, cascade: Cascade, data: AnyArray | None, seed: int) -> tuple[AnyArray, Order]:
    if data is not None:
        return data, shuffled(len(data), seed)
    golden = load_golden(bundle, cascade.precision)
    return golden.inputs, drawn_by_branch(golden.branches, cascade.router.reference, seed)
