"""How far a build has come, as a bar on the terminal, where TensorRT tells (from version 10 on)."""

from __future__ import annotations

import sys
from contextlib import suppress
from types import ModuleType
from typing import Protocol, cast

from agfedge_runtime.engines.tensorrt.build.bindings import BuilderConfig
from agfedge_runtime.engines.tensorrt.build.library import Library


class _BuildBar(Protocol):
    """What is used of tqdm's bars."""

    total: float

    def update(self, steps: float) -> object: ...
    def close(self) -> None: ...


def show_progress(library: Library, config: BuilderConfig, title: str) -> None:
    """Draw a bar a phase on stderr while a network is built, where the library, tqdm and a terminal are there.

    Args:
        library: the TensorRT to use.
        config: of the build.
        title: what is built.
    """
    if not library.has("IProgressMonitor") or not sys.stderr.isatty():
        return
    with suppress(ImportError):
        config.progress_monitor = _monitor(library.module, title)


def _monitor(module: ModuleType, title: str) -> object:
    from tqdm import tqdm

    class BuildMonitor(module.IProgressMonitor):  # type: ignore[misc, name-defined]
        """One bar for each phase that runs; a phase within another has a line of its own."""

        def __init__(self) -> None:
            module.IProgressMonitor.__init__(self)
            self._bars: dict[str, tuple[_BuildBar, int]] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            described = f"{title}: {phase_name}"
            bar = tqdm(total=num_steps, desc=described, leave=parent_phase is None, file=sys.stderr, unit="step")
            self._bars[phase_name] = (cast("_BuildBar", bar), 0)

        def step_complete(self, phase_name: str, step: int) -> bool:
            if phase_name in self._bars:
                bar, done = self._bars[phase_name]
                bar.update(step + 1 - done)
                self._bars[phase_name] = (bar, step + 1)
            return True  # False would cancel the build.

        def phase_finish(self, phase_name: str) -> None:
            if phase_name in self._bars:
                bar, done = self._bars.pop(phase_name)
                # The last step of a phase may not be told.
                bar.update(bar.total - done)
                bar.close()

    return BuildMonitor()
