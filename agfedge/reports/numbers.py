"""A profile as rows of one number each, with unit, interval and number of samples."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from agfedge.pages.tables import Table
from agfedge.pages.words import between, duration, with_interval

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from agfedge.account.account import Account
    from agfedge.account.latency import Latency
    from agfedge.base.statistics import Share
    from agfedge.reports.runs import MeasuredRun


@dataclass(frozen=True)
class Number:
    """One number of a profile.

    Attributes:
        section: such as "latency" or "escalation".
        name: of the number within it.
        value: None where it was not measured, or of too few samples.
        unit: "us", "share", "ratio", "mJ" and so on; empty for a count.
        low: lower end of its 95% interval, or None.
        high: upper end, or None.
        n: samples that it comes from, or None.
    """

    section: str
    name: str
    value: float | None
    unit: str = ""
    low: float | None = None
    high: float | None = None
    n: int | None = None


def numbers_of(run: MeasuredRun) -> tuple[Number, ...]:
    """Returns every number of a profile's account, section by section."""
    found = run.account
    return (
        Number("run", "decisions", found.decisions),
        Number("run", "valid", float(found.valid)),
        Number("run", "complete", float(found.complete)),
        Number("run", "threads", found.threads),
        *_latencies(found),
        *_shares(found),
        *_costs(found),
        *_truth(found),
        *_device(found),
        *_served(found),
    )


def to_csv(runs: Sequence[MeasuredRun]) -> str:
    """Returns a tidy table: a line a number, each with the profile's name."""
    text = io.StringIO()
    names = [each.name for each in fields(Number)]
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("profile", *names))
    for run in runs:
        writer.writerows((run.name, *(getattr(row, name) for name in names)) for row in numbers_of(run))
    return text.getvalue()


def _latencies(found: Account) -> Iterator[Number]:
    for name, row in (("cascade", found.cascade), ("heavy alone", found.heavy), ("light alone", found.light)):
        yield from _latency("latency", name, row.latency)
    for branch in found.branches:
        yield from _latency("branch", branch.name, branch.latency)
    for stage in found.stages:
        yield from _latency("stage", f"{stage.name} alone", stage.alone)
        yield from _latency("stage", f"{stage.name} in the cascade", stage.inside)
        for part, latency in stage.device.items():
            yield from _latency("stage", f"{stage.name} {part}, device's clock", latency)
    yield from _latency("stage", "beside the stages", found.overhead)


def _latency(section: str, name: str, found: Latency | None) -> Iterator[Number]:
    if found is None:
        return
    yield Number(section, f"{name}: mean", found.mean_us, "us", found.low_us, found.high_us, found.count)
    for percent, value in ((50, found.p50_us), (90, found.p90_us), (99, found.p99_us)):
        yield Number(section, f"{name}: p{percent}", value, "us", n=found.count)
    yield Number(section, f"{name}: variation", found.variation, "ratio", n=found.count)


def _shares(found: Account) -> Iterator[Number]:
    for name, expert in (("cascade", found.cascade), ("heavy alone", found.heavy), ("light alone", found.light)):
        if expert.accuracy is not None:
            yield _share("accuracy", name, expert.accuracy)
    for name, share in (("early", found.early), ("late", found.late), ("escalated", found.escalated)):
        yield _share("escalation", name, share)


def _share(section: str, name: str, found: Share) -> Number:
    return Number(section, name, found.value, "share", found.low, found.high, found.samples)


def _costs(found: Account) -> Iterator[Number]:
    costs = found.costs
    for name in ("mixture", "sequential", "expected"):
        yield Number("cost", name, getattr(costs, name), "ratio")
    measured = costs.measured
    yield Number("cost", "measured", measured.value, "ratio", measured.low, measured.high, found.decisions)
    account = found.reconciliation
    if account is None:
        return
    yield Number("reconciliation", "expected", account.expected_us, "us")
    for term in account.terms:
        yield Number("reconciliation", term.name, term.us, "us", term.low_us, term.high_us, found.decisions)
    yield Number("reconciliation", "measured", account.measured_us, "us", n=found.decisions)


def _truth(found: Account) -> Iterator[Number]:
    if found.truth is not None:
        yield Number("pruning", "MACs saved", found.truth.stage.macs_saved, "share")
        yield Number("pruning", "time saved", found.truth.stage.time_saved, "share")
        for layer in found.truth.layers:
            yield Number("layer", f"{layer.name}: heavy", layer.heavy_us, "us")
            yield Number("layer", f"{layer.name}: light", layer.light_us, "us")
    for stage in () if found.prediction is None else found.prediction.stages:
        yield Number("prediction", f"{stage.stage}: predicted", stage.predicted_us, "us")
        yield Number("prediction", f"{stage.stage}: error", stage.error, "ratio")


def _device(found: Account) -> Iterator[Number]:
    energy = found.energy
    if energy is None:
        return
    yield Number("energy", "power during the run", energy.mean_w, "W", n=energy.readings)
    yield Number("energy", "power when idle", energy.idle_w, "W")
    for name, each in (("all", energy.decision), *energy.branches.items()):
        low, high = (None, None) if each.interval is None else (1e3 * end for end in each.interval)
        above, whole = (None if joules is None else 1e3 * joules for joules in (each.joules, each.raw_joules))
        yield Number("energy", f"{name}: above idle", above, "mJ", low, high, each.decisions)
        yield Number("energy", f"{name}: with idle", whole, "mJ", n=each.decisions)


def _served(found: Account) -> Iterator[Number]:
    if found.rate is not None:
        yield Number("rate", "fps", found.rate.fps, "1/s")
        yield _share("rate", "dropped", found.rate.dropped)
        yield from _latency("rate", "from arrival to answer", found.rate.latency)
        yield from _latency("rate", "call alone", found.rate.service)
    if found.batch is not None:
        yield Number("batch", "size", found.batch.size)
        yield Number("batch", "inputs a second", found.batch.inputs_per_s, "1/s")
        for name in ("cascade", "heavy", "light"):
            yield from _latency("batch", name, getattr(found.batch, name))


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


def changes_of(runs: Sequence[MeasuredRun]) -> tuple[Change, ...]:
    """Returns the changes from the first profile to each other one, where both have the number."""
    first = {(row.section, row.name): row for row in numbers_of(runs[0])}
    found = []
    for run in runs[1:]:
        for row in numbers_of(run):
            change = _change(first.get((row.section, row.name)), row, run.name)
            if change is not None:
                found.append(change)
    return tuple(found)


def comparison_tables(runs: Sequence[MeasuredRun]) -> tuple[Table, ...]:
    """Returns a table a section: a column a profile, and what changed against the first one."""
    rows = [{(row.section, row.name): row for row in numbers_of(run)} for run in runs]
    changes = {(each.section, each.name, each.profile): each for each in changes_of(runs)}
    keys = list(dict.fromkeys(key for found in rows for key in found))
    headers: tuple[str, ...] = ("", runs[0].name)
    for run in runs[1:]:
        headers += (run.name, f"against {runs[0].name}")
    tables = []
    for section, title in _TITLES.items():
        lines = []
        for key in keys:
            if key[0] != section or _is_detail(*key):
                continue
            cells = [key[1], _value(rows[0].get(key))]
            for run, found in zip(runs[1:], rows[1:], strict=True):
                cells += [_value(found.get(key)), _told(changes.get((*key, run.name)))]
            lines.append(tuple(cells))
        if lines:
            tables.append(Table(headers, lines, title=title))
    return tuple(tables)


def comparison_verdict(runs: Sequence[MeasuredRun]) -> str:
    """Returns one sentence: how the cascades' means compare."""
    first, told = runs[0], []
    for change in changes_of(runs):
        if (change.section, change.name) == ("latency", "cascade: mean"):
            noise = change.low is not None and change.high is not None and change.low <= 1 <= change.high
            times = with_interval(f"{change.value:.3f}", change.low, change.high, ".3f")
            told.append(f"{change.profile} takes {times} times as long{', which may be noise' if noise else ''}")
    mean = duration(first.account.cascade.latency.mean_us)
    doubtful = [run.name for run in runs if not run.account.valid]
    lead = f"These numbers do not count ({', '.join(doubtful)}): a" if doubtful else "A"
    return f"{lead} decision takes {mean} in {first.name}; {'; '.join(told)}."


def _is_detail(section: str, name: str) -> bool:
    """What only CSV and JSON tell: a table of every percentile of every engine is one that nobody reads."""
    percentile = name.endswith((": p50", ": p90", ": p99"))
    return name.endswith(": variation") or (percentile and section not in ("latency", "rate"))


def _change(first: Number | None, other: Number, run: str) -> Change | None:
    if first is None or first.value is None or other.value is None or other.section == "run":
        return None
    if other.unit == "share" or other.section == _TERMS:
        low, high = _difference(first, other)
        return Change(other.section, other.name, run, "difference", other.value - first.value, low, high)
    if first.value <= 0 or other.value <= 0:
        return None
    ratio = other.value / first.value
    reach = _relative_error(first, other)
    low, high = (None, None) if reach is None else (ratio * math.exp(-reach), ratio * math.exp(reach))
    return Change(other.section, other.name, run, "ratio", ratio, low, high)


def _difference(first: Number, other: Number) -> tuple[float | None, float | None]:
    """Returns the interval of a difference from those of both.

    Of shares with Wilson intervals it is Newcombe's (1998, method 10); of others, the same method (MOVER: Zou and
    Donner, 2008).
    """
    if None in (first.value, first.low, first.high, other.value, other.low, other.high):
        return None, None
    a, a_low, a_high = float(first.value or 0), float(first.low or 0), float(first.high or 0)
    b, b_low, b_high = float(other.value or 0), float(other.low or 0), float(other.high or 0)
    return b - a - math.hypot(b - b_low, a_high - a), b - a + math.hypot(b_high - b, a - a_low)


def _relative_error(first: Number, other: Number) -> float | None:
    """Half the width of the 95% interval of the ratio's logarithm: the two were measured apart, so errors add up."""
    widths = []
    for row in (first, other):
        if not row.value or row.low is None or row.high is None or math.isnan(row.low) or math.isnan(row.high):
            return None
        widths.append((row.high - row.low) / 2 / row.value)
    return math.hypot(*widths)


def _value(row: Number | None) -> str:
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
