"""Profiles side by side: every number of each beside the first one's."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agfedge.pages.words import between, duration, with_interval
from agfedge.reports.rows import Row, rows_of
from agfedge.reports.tables import Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agfedge.reports.profile import Profile

# Its numbers may be 0, and of either sign: they differ by so much, and not so many times.
_TERMS = "reconciliation"
_TITLES = {
    "latency": "Latency",
    "branch": "Each branch apart",
    "stage": "Each engine apart",
    "accuracy": "Accuracy",
    "escalation": "Escalation",
    "cost": "Cost, heavy expert alone = 1",
    _TERMS: "Reconciliation",
    "pruning": "Pruning",
    "energy": "Energy",
    "rate": "At a fixed rate",
    "batch": "Several inputs a call",
}


@dataclass(frozen=True)
class Change:
    """A number of a profile beside the same number of the first one.

    Attributes:
        section: of the number.
        name: of it.
        profile: the other profile's name.
        kind: "ratio" (other over first) or "difference" (other minus first).
        value: of that.
        low: lower end of its 95% interval; None where one of the two has none.
        high: upper end.
    """

    section: str
    name: str
    profile: str
    kind: str
    value: float
    low: float | None
    high: float | None


def changes_of(profiles: Sequence[Profile]) -> tuple[Change, ...]:
    """Returns the changes from the first profile to each other one, where both have the number."""
    first = {(row.section, row.name): row for row in rows_of(profiles[0])}
    found = []
    for profile in profiles[1:]:
        for row in rows_of(profile):
            change = _change(first.get((row.section, row.name)), row, profile.name)
            if change is not None:
                found.append(change)
    return tuple(found)


def comparison_tables(profiles: Sequence[Profile]) -> tuple[Table, ...]:
    """Returns a table a section: a column a profile, and what changed against the first one."""
    rows = [{(row.section, row.name): row for row in rows_of(profile)} for profile in profiles]
    changes = {(each.section, each.name, each.profile): each for each in changes_of(profiles)}
    keys = list(dict.fromkeys(key for found in rows for key in found))
    headers: tuple[str, ...] = ("", profiles[0].name)
    for profile in profiles[1:]:
        headers += (profile.name, f"against {profiles[0].name}")
    tables = []
    for section, title in _TITLES.items():
        lines = []
        for key in keys:
            if key[0] != section or _is_detail(*key):
                continue
            cells = [key[1], _value(rows[0].get(key))]
            for profile, found in zip(profiles[1:], rows[1:], strict=True):
                cells += [_value(found.get(key)), _told(changes.get((*key, profile.name)))]
            lines.append(tuple(cells))
        if lines:
            tables.append(Table(title, headers, tuple(lines)))
    return tuple(tables)


def sentence(profiles: Sequence[Profile]) -> str:
    """Returns one sentence: how the cascades' means compare."""
    first, told = profiles[0], []
    for change in changes_of(profiles):
        if (change.section, change.name) == ("latency", "cascade: mean"):
            noise = change.low is not None and change.high is not None and change.low <= 1 <= change.high
            times = with_interval(f"{change.value:.3f}", change.low, change.high, ".3f")
            told.append(f"{change.profile} takes {times} times as long{', which may be noise' if noise else ''}")
    mean = duration(first.account.cascade.latency.mean_us)
    doubtful = [profile.name for profile in profiles if not profile.account.valid]
    lead = f"These numbers do not count ({', '.join(doubtful)}): a" if doubtful else "A"
    return f"{lead} decision takes {mean} in {first.name}; {'; '.join(told)}."


def _is_detail(section: str, name: str) -> bool:
    """What only CSV and JSON tell: a table of every percentile of every engine is one that nobody reads."""
    percentile = name.endswith((": p50", ": p90", ": p99"))
    return name.endswith(": variation") or (percentile and section not in ("latency", "rate"))


def _change(first: Row | None, other: Row, profile: str) -> Change | None:
    if first is None or first.value is None or other.value is None or other.section == "run":
        return None
    if other.unit == "share" or other.section == _TERMS:
        low, high = _difference(first, other)
        return Change(other.section, other.name, profile, "difference", other.value - first.value, low, high)
    if first.value <= 0 or other.value <= 0:
        return None
    ratio = other.value / first.value
    reach = _relative_error(first, other)
    low, high = (None, None) if reach is None else (ratio * math.exp(-reach), ratio * math.exp(reach))
    return Change(other.section, other.name, profile, "ratio", ratio, low, high)


def _difference(first: Row, other: Row) -> tuple[float | None, float | None]:
    """Returns the interval of a difference from those of both.

    Of shares with Wilson intervals it is Newcombe's (1998, method 10); of others, the same method (MOVER: Zou and
    Donner, 2008).
    """
    if None in (first.value, first.low, first.high, other.value, other.low, other.high):
        return None, None
    a, a_low, a_high = float(first.value or 0), float(first.low or 0), float(first.high or 0)
    b, b_low, b_high = float(other.value or 0), float(other.low or 0), float(other.high or 0)
    return b - a - math.hypot(b - b_low, a_high - a), b - a + math.hypot(b_high - b, a - a_low)


def _relative_error(first: Row, other: Row) -> float | None:
    """Half the width of the 95% interval of the ratio's logarithm: the two were measured apart, so errors add up."""
    widths = []
    for row in (first, other):
        if not row.value or row.low is None or row.high is None or math.isnan(row.low) or math.isnan(row.high):
            return None
        widths.append((row.high - row.low) / 2 / row.value)
    return math.hypot(*widths)


def _value(row: Row | None) -> str:
    if row is None:
        return ""
    if row.value is None:
        return "too few" if row.unit == "us" else "not measured"
    if row.unit == "us":
        scale, form = (1000, ",.2f") if abs(row.value) >= 10_000 else (1, ",.1f")
        low, high = (None if each is None else each / scale for each in (row.low, row.high))
        return with_interval(duration(row.value), low, high, form)
    if row.unit == "share":
        low, high = (None if each is None else 100 * each for each in (row.low, row.high))
        return with_interval(f"{row.value:.1%}", low, high, ".1f")
    if row.unit == "ratio":
        return with_interval(f"{row.value:.3f}", row.low, row.high, ".3f")
    return with_interval(f"{row.value:,.4g}{' ' * bool(row.unit)}{row.unit}", row.low, row.high, ",.4g")


def _told(change: Change | None) -> str:
    if change is None:
        return ""
    if change.kind == "ratio":
        return with_interval(f"x {change.value:.3f}", change.low, change.high, ".3f")
    if change.section == _TERMS:
        return with_interval(f"{change.value:+,.2f} µs", change.low, change.high, "+,.2f")
    low, high = (None if each is None else 100 * each for each in (change.low, change.high))
    interval = between(low, high, "+.1f")
    return f"{100 * change.value:+.1f} points{f' ({interval})' if interval else ''}"
