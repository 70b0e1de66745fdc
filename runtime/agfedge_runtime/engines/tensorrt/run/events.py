"""The GPU's own clock around copies and runs, by CUDA events; only while something is measured.

An event is recorded before and after each copy and each run, on the stream that both are submitted to. Copies and runs
are submitted as ever: what submits them is put behind something that records, and taken from behind it afterwards.
"""

from __future__ import annotations

import contextlib
from typing import Any, Iterator, Tuple

from agfedge_runtime.engines.protocol import PARTS
from agfedge_runtime.engines.tensorrt.run.cuda import Cuda, Event
from agfedge_runtime.engines.tensorrt.run.runner import Places, Runner

_COPY_IN, _COMPUTE, _COPY_OUT = PARTS
_Mark = Tuple[str, str, Event, Event]


class EventClock:
    """A `DeviceClock` for the engines of one thread.

    Args:
        cuda: the session that they share.
    """

    def __init__(self, cuda: Cuda) -> None:
        self._cuda = cuda
        self._engines = 0
        self._stage = ""
        self._marks: list[_Mark] = []
        # Made once and used again: making one takes longer than recording it.
        self._idle: list[Event] = []

    def attach(self) -> None:
        """One engine more is timed."""
        self._engines += 1
        if self._engines == 1:
            self._cuda.watch(self)

    def detach(self) -> None:
        """One engine less is timed; after the last one nothing is left on the GPU."""
        self._engines -= 1
        if self._engines == 0:
            self._cuda.watch(None)
            with self._cuda.active():
                for _stage, _part, *events in self._marks:
                    self._idle += events
                self._marks = []
                for event in self._idle:
                    event.free()
                self._idle = []

    def begin(self, stage: str) -> None:
        """See `DeviceClock.begin`."""
        if stage and not self._stage:
            self._marks = [(each[0] or stage, *each[1:]) for each in self._marks]
        self._stage = stage

    def take(self) -> dict[str, float]:
        """See `DeviceClock.take`."""
        marks, self._marks = self._marks, []
        found: dict[str, float] = {}
        if not marks:
            return found
        with self._cuda.active():
            # Of the last one; those before it on the stream are done by then.
            marks[-1][3].wait()
            for stage, part, begin, end in marks:
                for each in PARTS if stage else ():
                    found.setdefault(f"{stage}.{each}", 0.0)
                if stage:
                    found[f"{stage}.{part}"] += begin.us_until(end)
                self._idle += (begin, end)
        return found

    def copying_in(self) -> contextlib.AbstractContextManager[None]:
        """Stands around a copy to the GPU."""
        return self.around(_COPY_IN)

    def copying_out(self) -> contextlib.AbstractContextManager[None]:
        """Stands around a copy from the GPU."""
        return self.around(_COPY_OUT)

    @contextlib.contextmanager
    def around(self, part: str) -> Iterator[None]:
        """Time what is submitted inside."""
        begin, end = self._event(), self._event()
        self._cuda.record(begin)
        yield
        self._cuda.record(end)
        self._marks.append((self._stage, part, begin, end))

    def _event(self) -> Event:
        return self._idle.pop() if self._idle else self._cuda.event()


class ClockedRunner:
    """A runner whose runs are timed.

    Args:
        plain: the runner.
        clock: times them.

    Attributes:
        plain: as given.
    """

    def __init__(self, plain: Runner, clock: EventClock) -> None:
        self.plain = plain
        self._clock = clock

    def submit(self, places: Places) -> None:
        """See `Runner.submit`."""
        with self._clock.around(_COMPUTE):
            self.plain.submit(places)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.plain, name)
