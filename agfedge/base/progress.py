"""Progress on stderr: bars on a terminal; elsewhere a line for each stage, and within a stage at most one in 30 s.

The lines are log records of this module, so that a program that uses agfedge as a library sees them only if it asks
for them; the command line does.
"""

from __future__ import annotations

import io
import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

logger = logging.getLogger("agfedge.progress")

PERIOD_S = 30.0


def bar(
    items: Iterable[Any] | None = None,
    *,
    title: str,
    unit: str,
    total: float | None = None,
    initial: int = 0,
    silent: bool = False,
    **options: Any,
) -> tqdm[Any]:
    """Returns a progress bar: an iterable, or with a total something to `update`; a context manager too.

    Args:
        items: to go through.
        title: what is done.
        unit: of an item, in the singular; on lines an "s" follows, or "es" behind an h.
        total: how many there are, where `items` do not say.
        initial: how many are done already.
        silent: nothing is shown.
        options: for tqdm, on a terminal.
    """
    if silent or not logger.isEnabledFor(logging.WARNING):
        return tqdm(items, total=total, disable=True)
    if sys.stderr.isatty():
        return tqdm(items, desc=title, unit=unit, total=total, initial=initial, leave=False, **options)
    if not logger.isEnabledFor(logging.INFO):
        return tqdm(items, total=total, disable=True)
    return _LineBar(items, desc=title, unit=unit, total=total, initial=initial)


@contextmanager
def stages(title: str, names: Sequence[str], quick_s: float = 0.0) -> Iterator[Callable[[], None]]:
    """Gives a function to be called as each of the stages begins.

    Args:
        title: what is done.
        names: of the stages, in order.
        quick_s: what ends within so many seconds needs no lines.
    """
    numbered, began = iter(enumerate(names, 1)), time.monotonic()
    # Without a terminal the lines below say it all.
    with bar(title=title, unit="stage", total=len(names), silent=not sys.stderr.isatty()) as shown:

        def step() -> None:
            number, name = next(numbered)
            shown.update(number - 1 - shown.n)
            shown.set_postfix_str(name)
            if time.monotonic() - began >= quick_s:
                logger.info("%s: %s (%d of %d)", title, name, number, len(names))

        yield step


class _LineBar(tqdm):  # type: ignore[misc]  # tqdm has no types
    """A bar that writes a line now and then, through the log."""

    _last = 0.0

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._began = time.monotonic()
        # What tqdm would draw goes nowhere; `display` is called as often as it would have drawn.
        super().__init__(*arguments, file=io.StringIO(), mininterval=1.0, leave=False, **options)

    def display(self, msg: str | None = None, pos: int | None = None) -> bool:  # noqa: ARG002 - tqdm's signature
        now = time.monotonic()
        if msg == "" or now - max(self._began, _LineBar._last) < PERIOD_S:
            return True
        _LineBar._last = now
        done = f"{self.n:g}" if self.total is None else f"{self.n:g} of {self.total:g}"
        plural = "es" if self.unit.endswith("h") else "s"
        logger.info("%s: %s %s%s, %.0f s so far", self.desc, done, self.unit, plural, now - self._began)
        return True
