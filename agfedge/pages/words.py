"""Numbers as people read them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agfedge.base.statistics import Share


def duration(us: float | None, signed: bool = False) -> str:
    """Returns microseconds with a unit that suits them; None is of too few samples."""
    if us is None:
        return "too few"
    size = abs(us)
    value, unit = (us / 1000, "ms") if size >= 10_000 else (us, "µs")
    digits = 0 if abs(value) >= 1000 else 1 if abs(value) >= 10 else 2
    return f"{value:{'+' if signed else ''},.{digits}f} {unit}"


def between(low: float | None, high: float | None, form: str = ",.1f") -> str:
    """Returns an interval, or nothing where there is none."""
    if low is None or high is None or math.isnan(low) or math.isnan(high):
        return ""
    return f"{low:{form}} to {high:{form}}"


def with_interval(value: str, low: float | None, high: float | None, form: str = ",.1f") -> str:
    """Returns a value with its interval in brackets, where there is one."""
    interval = between(low, high, form)
    return f"{value} ({interval})" if interval else value


def share(found: Share) -> str:
    """Returns a share with its interval, in percent."""
    return f"{found.value:.1%} ({100 * found.low:.1f} to {100 * found.high:.1f})"


def sentence(text: str) -> str:
    """Returns a text with a capital at its beginning and a full stop at its end."""
    return f"{text[:1].upper()}{text[1:]}."
