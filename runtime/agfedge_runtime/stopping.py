"""Signals that end a stream of decisions: never in the middle of one."""

from __future__ import annotations

import signal
import threading
from types import FrameType


class Terminated(BaseException):
    """SIGTERM came. No `Exception`, so that nothing on the way mistakes it for a failure."""


class Stopping:
    """Turns SIGTERM into `Terminated` and SIGINT into KeyboardInterrupt: at once, or after a shielded step.

    A second signal acts as if this were not here. In other threads than the main one, which gets no signals, this
    does nothing. Use it as a context manager.
    """

    def __init__(self) -> None:
        self._before: dict[int, object] = {}
        self._shielded = False
        self._came: int | None = None

    def __enter__(self) -> Stopping:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *error: object) -> None:
        self._restore()

    def shield(self) -> None:
        """From here to `unshield` signals wait."""
        self._shielded = True

    def unshield(self) -> None:
        """Let signals in again.

        Raises:
            Terminated: SIGTERM came meanwhile.
            KeyboardInterrupt: SIGINT did.
        """
        self._shielded = False
        if self._came is not None:
            self._raise(self._came)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        self._restore()
        self._came = number
        if not self._shielded:
            self._raise(number)

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._before = {}

    @staticmethod
    def _raise(number: int) -> None:
        raise Terminated if number == signal.SIGTERM else KeyboardInterrupt
