"""A bar a target, with the stage that it is in and the bytes that were sent."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING

from tqdm import tqdm

from agfedge.targets.stages import Progress

if TYPE_CHECKING:
    from agfedge.targets.release import Release


class DeployBars:
    """The bars of a deploy, on a terminal; elsewhere nothing is drawn. A context manager that takes them away."""

    def __init__(self) -> None:
        self._bars: list[tqdm[Iterator[object]]] = []
        self._lock = threading.Lock()

    def __enter__(self) -> DeployBars:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for bar in self._bars:
            bar.close()

    def progress(self, target: str, release: Release) -> Progress:
        """Add a bar for a target."""
        with self._lock:
            bar = tqdm(
                total=release.size,
                position=len(self._bars),
                disable=None,
                leave=False,
                delay=1,
                unit="B",
                unit_scale=True,
            )
            self._bars.append(bar)
        return _Bar(bar, target)


class _Bar(Progress):
    def __init__(self, bar: tqdm[Iterator[object]], target: str) -> None:
        self._bar, self._target = bar, target

    def stage(self, name: str) -> None:
        self._bar.set_description(f"{self._target}: {name}")

    def shipping(self, total: int) -> None:
        self._bar.reset(total)

    def sent(self, count: int) -> None:
        self._bar.update(count)
