"""Numbers as people read them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agfedge.base.statistics import Estimate, Share

# From here on microseconds are told as milliseconds.
_LONG_US = 10_000


def duration(us: float | None, signed: bool = False) -> str:
    """Returns microseconds with a unit that suits them; None is of too few samples."""
    if us is None:
        return "too few"
    size = abs(us)
    value, unit = (us / 1000, "ms") if size >= _LONG_US else (us, "µs")
    digits = 0 if abs(value) >= 1000 else 1 if abs(value) >= 10 else 2
    return f"{value:{'+' if signed else ''},.{digits}f} {unit}"


def between(low: float | None, high: float | None, form: str = ",.1f", scale: float = 1) -> str:
    """Returns an interval, or nothing where there is none; `scale` is what its ends are multiplied by."""
    if low is None or high is None or math.isnan(low) or math.isnan(high):
        return ""
    return f"{scale * low:{form}} to {scale * high:{form}}"


def with_interval(value: str, low: float | None, high: float | None, form: str = ",.1f", scale: float = 1) -> str:
    """Returns a value with its interval in brackets, where there is one."""
    interval = between(low, high, form, scale)
    return f"{value} ({interval})" if interval else value


def mean_duration(us: float, low: float | None, high: float | None) -> str:
    """Returns microseconds with their interval, which has the unit of the value."""
    if abs(us) >= _LONG_US:
        return with_interval(duration(us), low, high, ",.2f", 1e-3)
    return with_interval(duration(us), low, high)


def share(part: Share) -> str:
    """Returns a share with its interval, in percent."""
    return with_interval(f"{part.value:.1%}", part.low, part.high, ".1f", 100)


def ratio(estimate: Estimate) -> str:
    """Returns a ratio with its interval."""
    return with_interval(f"{estimate.value:.3f}", *estimate.interval, ".3f")


def percentage(estimate: Estimate) -> str:
    """Returns a share with its interval, in percent, to a hundredth of one; the sign is left to what is around it."""
    return with_interval(f"{100 * estimate.value:.2f}", *estimate.interval, ".2f", 100)


def sentence(text: str) -> str:
    """Returns a text with a capital at its beginning and a full stop at its end."""
    return f"{text[:1].upper()}{text[1:]}."
