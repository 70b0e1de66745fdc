"""How deploys fare while they run: on a terminal a bar a target, elsewhere a line a stage."""

from __future__ import annotations

import logging
import threading
from types import TracebackType
from typing import TYPE_CHECKING, Any

from agfedge.base.progress import bar
from agfedge.targets.stages import Progress

if TYPE_CHECKING:
    from tqdm import tqdm

    from agfedge.targets.release import Release

logger = logging.getLogger("agfedge.progress")


class DeployBars:
    """The bars of a deploy; a context manager that takes them away."""

    def __init__(self) -> None:
        self._bars: list[tqdm[Any]] = []
        self._lock = threading.Lock()

    def __enter__(self) -> DeployBars:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for shown in self._bars:
            shown.close()

    def progress(self, target: str, release: Release) -> Progress:
        """Add a bar for a target."""
        with self._lock:
            shown = bar(title=target, unit="B", total=release.size, position=len(self._bars), delay=1, unit_scale=True)
            self._bars.append(shown)
        return TargetBar(shown, target)


class TargetBar(Progress):
    """One target's bar, and what the log says of its stages."""

    def __init__(self, shown: tqdm[Any], target: str) -> None:
        self._bar, self._target = shown, target

    def stage(self, name: str) -> None:
        """See `Progress.stage`."""
        self._bar.set_description(f"{self._target}: {name}")
        logger.info("deploy: %s: %s", self._target, name)

    def shipping(self, total: int) -> None:
        """See `Progress.shipping`."""
        self._bar.reset(total)

    def sent(self, count: int) -> None:
        """See `Progress.sent`."""
        self._bar.update(count)
