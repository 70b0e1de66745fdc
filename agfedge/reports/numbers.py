"""Measured runs as numbers, each with unit, interval and samples; and every number beside the first run's."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from agfedge.pages.tables import Table
from agfedge.pages.words import duration, mean_duration, with_interval

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from agfedge.account.account import Account
    from agfedge.account.latency import Latency
    from agfedge.base.statistics import Share
    from agfedge.reports.runs import MeasuredRun


@dataclass(frozen=True)
class Number:
    """One number of a run.

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
    """Returns every number of a run's account, section by section."""
    account = run.account
    return (
        Number("run", "decisions", account.decisions),
        Number("run", "valid", float(account.valid)),
        Number("run", "complete", float(account.complete)),
        Number("run", "threads", account.threads),
        *_latencies(account),
        *_shares(account),
        *_costs(account),
        *_truth(account),
        *_device(account),
        *_served(account),
    )


def to_csv(runs: Sequence[MeasuredRun]) -> str:
    """Returns a tidy table: a line a number, each with the run's name."""
    text = io.StringIO()
    names = [each.name for each in fields(Number)]
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("profile", *names))
    for run in runs:
        writer.writerows((run.name, *(getattr(row, name) for name in names)) for row in numbers_of(run))
    return text.getvalue()


def _latencies(account: Account) -> Iterator[Number]:
    for name, row in (("cascade", account.cascade), ("heavy alone", account.heavy), ("light alone", account.light)):
        yield from _latency("latency", name, row.latency)
    for branch in account.branches:
        yield from _latency("branch", branch.name, branch.latency)
    for name, latency in account.engine_latencies:
        yield from _latency("stage", name, latency)


def _latency(section: str, name: str, latency: Latency | None) -> Iterator[Number]:
    if latency is None:
        return
    yield Number(section, f"{name}: mean", latency.mean_us, "us", latency.low_us, latency.high_us, latency.count)
    for percent, value in ((50, latency.p50_us), (90, latency.p90_us), (99, latency.p99_us)):
        yield Number(section, f"{name}: p{percent}", value, "us", n=latency.count)
    yield Number(section, f"{name}: variation", latency.variation, "ratio", n=latency.count)


def _shares(account: Account) -> Iterator[Number]:
    for name, expert in (("cascade", account.cascade), ("heavy alone", account.heavy), ("light alone", account.light)):
        if expert.accuracy is not None:
            yield _share("accuracy", name, expert.accuracy)
    for name, share in (("early", account.early), ("late", account.late), ("escalated", account.escalated)):
        yield _share("escalation", name, share)


def _share(section: str, name: str, share: Share) -> Number:
    return Number(section, name, share.value, "share", share.low, share.high, share.samples)


def _costs(account: Account) -> Iterator[Number]:
    costs = account.costs
    for name in ("mixture", "sequential", "expected"):
        yield Number("cost", name, getattr(costs, name), "ratio")
    measured = costs.measured
    yield Number("cost", "measured", measured.value, "ratio", measured.low, measured.high, account.decisions)
    split = account.reconciliation
    if split is None:
        return
    yield Number("reconciliation", "expected", split.expected_us, "us")
    for term in split.terms:
        yield Number("reconciliation", term.name, term.us, "us", term.low_us, term.high_us, account.decisions)
    yield Number("reconciliation", "measured", split.measured_us, "us", n=account.decisions)


def _truth(account: Account) -> Iterator[Number]:
    if account.truth is not None:
        yield Number("pruning", "MACs saved", account.truth.stage.macs_saved, "share")
        yield Number("pruning", "time saved", account.truth.stage.time_saved, "share")
        for layer in account.truth.layers:
            yield Number("layer", f"{layer.name}: heavy", layer.heavy_us, "us")
            yield Number("layer", f"{layer.name}: light", layer.light_us, "us")
    for stage in () if account.prediction is None else account.prediction.stages:
        yield Number("prediction", f"{stage.stage}: predicted", stage.predicted_us, "us")
        yield Number("prediction", f"{stage.stage}: error", stage.error, "ratio")


def _device(account: Account) -> Iterator[Number]:
    energy = account.energy
    if energy is None:
        return
    yield Number("energy", "power during the run", energy.mean_w, "W", n=energy.readings)
    yield Number("energy", "power when idle", energy.idle_w, "W")
    for name, branch in (("all", energy.decision), *energy.branches.items()):
        low, high = (None, None) if branch.interval is None else (1e3 * end for end in branch.interval)
        above, whole = (None if joules is None else 1e3 * joules for joules in (branch.joules, branch.raw_joules))
        yield Number("energy", f"{name}: above idle", above, "mJ", low, high, branch.decisions)
        yield Number("energy", f"{name}: with idle", whole, "mJ", n=branch.decisions)


def _served(account: Account) -> Iterator[Number]:
    if account.rate is not None:
        yield Number("rate", "fps", account.rate.fps, "1/s")
        yield _share("rate", "dropped", account.rate.dropped)
        yield from _latency("rate", "from arrival to answer", account.rate.latency)
        yield from _latency("rate", "call alone", account.rate.service)
    if account.batch is not None:
        yield Number("batch", "size", account.batch.size)
        yield Number("batch", "inputs a second", account.batch.inputs_per_s, "1/s")
        for name in ("cascade", "heavy", "light"):
            yield from _latency("batch", name, getattr(account.batch, name))


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
    """A number of a run beside the same number of the first one.

    Attributes:
        section: of the number.
        name: of it.
        profile: the other run's name.
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
    """Returns the changes from the first run to each other one, where both have the number."""
    first = {(row.section, row.name): row for row in numbers_of(runs[0])}
    changes = []
    for run in runs[1:]:
        for row in numbers_of(run):
            change = _change(first.get((row.section, row.name)), row, run.name)
            if change is not None:
                changes.append(change)
    return tuple(changes)


def comparison_tables(runs: Sequence[MeasuredRun]) -> tuple[Table, ...]:
    """Returns a table a section: a column a run, and what changed against the first one."""
    rows = [{(row.section, row.name): row for row in numbers_of(run)} for run in runs]
    changes = {(change.section, change.name, change.profile): change for change in changes_of(runs)}
    keys = list(dict.fromkeys(key for numbers in rows for key in numbers))
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
            for run, numbers in zip(runs[1:], rows[1:], strict=True):
                cells += [_value(numbers.get(key)), _changed(changes.get((*key, run.name)))]
            lines.append(tuple(cells))
        if lines:
            tables.append(Table(headers, lines, title=title))
    return tuple(tables)


def comparison_verdict(runs: Sequence[MeasuredRun]) -> str:
    """Returns one sentence: how the cascades' means compare."""
    first, others = runs[0], []
    for change in changes_of(runs):
        if (change.section, change.name) == ("latency", "cascade: mean"):
            noise = change.low is not None and change.high is not None and change.low <= 1 <= change.high
            times = with_interval(f"{change.value:.3f}", change.low, change.high, ".3f")
            others.append(f"{change.profile} takes {times} times as long{', which may be noise' if noise else ''}")
    mean = duration(first.account.cascade.latency.mean_us)
    doubtful = [run.name for run in runs if not run.account.valid]
    lead = f"These numbers do not count ({', '.join(doubtful)}): a" if doubtful else "A"
    return f"{lead} decision takes {mean} in {first.name}; {'; '.join(others)}."


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
        return mean_duration(row.value, row.low, row.high)
    if row.unit == "share":
        return with_interval(f"{row.value:.1%}", row.low, row.high, ".1f", 100)
    if row.unit == "ratio":
        return with_interval(f"{row.value:.3f}", row.low, row.high, ".3f")
    return with_interval(f"{row.value:,.4g}{' ' * bool(row.unit)}{row.unit}", row.low, row.high, ",.4g")


def _changed(change: Change | None) -> str:
    if change is None:
        return ""
    if change.kind == "ratio":
        return with_interval(f"x {change.value:.3f}", change.low, change.high, ".3f")
    if change.section == _TERMS:
        return with_interval(f"{change.value:+,.2f} µs", change.low, change.high, "+,.2f")
    return with_interval(f"{100 * change.value:+.1f} points", change.low, change.high, "+.1f", 100)
