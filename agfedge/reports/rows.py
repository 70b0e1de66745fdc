"""A profile as rows of one number each, with unit, interval and number of samples."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from agfedge.account.account import Account
    from agfedge.account.latency import Latency
    from agfedge.base.statistics import Share
    from agfedge.reports.profile import Profile


@dataclass(frozen=True)
class Row:
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


def rows_of(profile: Profile) -> tuple[Row, ...]:
    """Returns every number of a profile's account, section by section."""
    found = profile.account
    return (
        Row("run", "decisions", found.decisions),
        Row("run", "valid", float(found.valid)),
        Row("run", "complete", float(found.complete)),
        Row("run", "threads", found.threads),
        *_latencies(found),
        *_shares(found),
        *_costs(found),
        *_truth(found),
        *_device(found),
        *_served(found),
    )


def to_csv(profiles: Sequence[Profile]) -> str:
    """Returns a tidy table: a line a number, each with the profile's name."""
    text = io.StringIO()
    names = [each.name for each in fields(Row)]
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("profile", *names))
    for profile in profiles:
        writer.writerows((profile.name, *(getattr(row, name) for name in names)) for row in rows_of(profile))
    return text.getvalue()


def _latencies(found: Account) -> Iterator[Row]:
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


def _latency(section: str, name: str, found: Latency | None) -> Iterator[Row]:
    if found is None:
        return
    yield Row(section, f"{name}: mean", found.mean_us, "us", found.low_us, found.high_us, found.count)
    for percent, value in ((50, found.p50_us), (90, found.p90_us), (99, found.p99_us)):
        yield Row(section, f"{name}: p{percent}", value, "us", n=found.count)
    yield Row(section, f"{name}: variation", found.variation, "ratio", n=found.count)


def _shares(found: Account) -> Iterator[Row]:
    for name, expert in (("cascade", found.cascade), ("heavy alone", found.heavy), ("light alone", found.light)):
        if expert.accuracy is not None:
            yield _share("accuracy", name, expert.accuracy)
    for name, share in (("early", found.early), ("late", found.late), ("escalated", found.escalated)):
        yield _share("escalation", name, share)


def _share(section: str, name: str, found: Share) -> Row:
    return Row(section, name, found.value, "share", found.low, found.high, found.samples)


def _costs(found: Account) -> Iterator[Row]:
    costs = found.costs
    for name in ("mixture", "sequential", "expected"):
        yield Row("cost", name, getattr(costs, name), "ratio")
    measured = costs.measured
    yield Row("cost", "measured", measured.value, "ratio", measured.low, measured.high, found.decisions)
    account = found.reconciliation
    if account is None:
        return
    yield Row("reconciliation", "expected", account.expected_us, "us")
    for term in account.terms:
        yield Row("reconciliation", term.name, term.us, "us", term.low_us, term.high_us, found.decisions)
    yield Row("reconciliation", "measured", account.measured_us, "us", n=found.decisions)


def _truth(found: Account) -> Iterator[Row]:
    if found.truth is not None:
        yield Row("pruning", "MACs saved", found.truth.stage.macs_saved, "share")
        yield Row("pruning", "time saved", found.truth.stage.time_saved, "share")
        for layer in found.truth.layers:
            yield Row("layer", f"{layer.name}: heavy", layer.heavy_us, "us")
            yield Row("layer", f"{layer.name}: light", layer.light_us, "us")
    for stage in () if found.prediction is None else found.prediction.stages:
        yield Row("prediction", f"{stage.stage}: predicted", stage.predicted_us, "us")
        yield Row("prediction", f"{stage.stage}: error", stage.error, "ratio")


def _device(found: Account) -> Iterator[Row]:
    energy = found.energy
    if energy is None:
        return
    yield Row("energy", "power during the run", energy.mean_w, "W", n=energy.readings)
    yield Row("energy", "power when idle", energy.idle_w, "W")
    for name, each in (("all", energy.decision), *energy.branches.items()):
        low, high = (None, None) if each.interval is None else (1e3 * end for end in each.interval)
        above, whole = (None if joules is None else 1e3 * joules for joules in (each.joules, each.raw_joules))
        yield Row("energy", f"{name}: above idle", above, "mJ", low, high, each.decisions)
        yield Row("energy", f"{name}: with idle", whole, "mJ", n=each.decisions)


def _served(found: Account) -> Iterator[Row]:
    if found.rate is not None:
        yield Row("rate", "fps", found.rate.fps, "1/s")
        yield _share("rate", "dropped", found.rate.dropped)
        yield from _latency("rate", "from arrival to answer", found.rate.latency)
        yield from _latency("rate", "call alone", found.rate.service)
    if found.batch is not None:
        yield Row("batch", "size", found.batch.size)
        yield Row("batch", "inputs a second", found.batch.inputs_per_s, "1/s")
        for name in ("cascade", "heavy", "light"):
            yield from _latency("batch", name, getattr(found.batch, name))
