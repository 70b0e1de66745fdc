"""The tables of a profile: as a page shows them, and as Markdown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from agfedge.account.reconciliation import promised_rates
from agfedge.pages.words import between, duration, sentence, share, with_interval

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from agfedge.account.latency import Latency
    from agfedge.account.truth import LayerTruth
    from agfedge.reports.runs import MeasuredRun

_LAYERS = ("layer", "op", "channels", "MACs saved", "heavy", "light", "time saved", "why not, what to do")
_TIMES = ("mean (95% interval)", "p50", "p90", "p99", "variation")


@dataclass(frozen=True)
class Table:
    """A table of plain texts.

    Attributes:
        title: above it; empty where the section's says all.
        headers: of the columns.
        rows: as many cells each as there are headers.
        note: below it; may be empty.
        folded: whether a page shows it only when asked for.
    """

    title: str
    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    folded: bool = False


def to_markdown(title: str, tables: Sequence[Table], notes: Sequence[str] = ()) -> str:
    """Returns tables for a README, under a heading, after notes."""
    parts = [f"## {_cell(title)}", *(_cell(note) for note in notes)]
    for table in tables:
        lines = [table.headers, tuple("---" if not column else "---:" for column in range(len(table.headers)))]
        grid = "\n".join("| " + " | ".join(map(_cell, row)) + " |" for row in (*lines, *table.rows))
        parts += [f"**{_cell(table.title)}**" if table.title else "", grid, _cell(table.note)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def experts(run: MeasuredRun) -> Table:
    """Accuracy, size and latency of both experts and the cascade."""
    found, manifest = run.account, run.manifest
    rows = []
    for name, row in (("heavy alone", found.heavy), ("light alone", found.light), ("cascade", found.cascade)):
        accuracy = "not labelled" if row.accuracy is None else share(row.accuracy)
        rows.append((name, accuracy, *_of_graph(run, name.split()[0]), *_times(row.latency)))
    graph = () if manifest is None else ("MMACs", "KiB")
    return Table("", ("", "accuracy (95% interval)", *graph, *_TIMES), tuple(rows))


def _of_graph(run: MeasuredRun, name: str) -> tuple[str, ...]:
    manifest = run.manifest
    if manifest is None:
        return ()
    parts = {"heavy": (manifest.experts.heavy,), "light": (manifest.experts.light,)}.get(name, ())
    graphs = [*parts, *([manifest.experts.trunk] if parts and manifest.experts.trunk is not None else [])]
    if not graphs:
        return ("", "")
    size = sum(manifest.files[graph.file].size for graph in graphs if graph.file in manifest.files)
    return f"{sum(graph.macs for graph in graphs) / 1e6:,.2f}", f"{size / 1024:,.0f}"


def branches(run: MeasuredRun) -> Table:
    """Each branch apart."""
    rows = [
        (f"{each.name}: {each.path}", str(each.share.count), share(each.share), *_times(each.latency))
        for each in run.account.branches
    ]
    return Table("", ("branch", "decisions", "share (95% interval)", *_TIMES), tuple(rows))


def stages(run: MeasuredRun) -> Table:
    """Each engine alone and inside the cascade."""
    found = run.account
    rows: list[tuple[str, ...]] = []
    for each in found.stages:
        rows.append((f"{each.name} alone", *_times(each.alone)))
        if each.inside is not None:
            rows.append((f"{each.name} in the cascade", *_times(each.inside)))
        rows += [(f"{each.name} {part}, device's clock", *_times(found)) for part, found in each.device.items()]
    if found.overhead is not None:
        rows.append(("beside the stages", *_times(found.overhead)))
    return Table("", ("stage", *_TIMES), tuple(rows))


def costs(run: MeasuredRun) -> Table:
    """The four costs."""
    found = run.account.costs
    measured = with_interval(f"{found.measured.value:.3f}", found.measured.low, found.measured.high, ".3f")
    rows = (
        ("mixture", f"{found.mixture:.3f}", "the paper's estimate: the light expert charged only for what it keeps"),
        ("sequential", f"{found.sequential:.3f}", "light first for every input"),
        ("expected", f"{found.expected:.3f}", "what this runtime does, from the passes measured alone"),
        ("measured", measured, "mean latency of the cascade over that of the heavy expert"),
    )
    return Table("", ("cost", "heavy expert = 1", "what it is"), rows, sentence(found.explanation))


def reconciliation(run: MeasuredRun) -> Table | None:
    """Measured minus expected, term by term; None where it was not split."""
    found = run.account.reconciliation
    if found is None:
        return None
    rows = [
        ("expected", duration(found.expected_us), "", "passes measured alone, at the rates that the bundle promised")
    ]
    rows += [
        (each.name, f"{each.us:+,.2f} µs", between(each.low_us, each.high_us, "+,.2f"), each.about)
        for each in found.terms
    ]
    rows.append(("measured", duration(found.measured_us), "", "mean latency of a decision"))
    return Table("", ("term", "a decision", "95% interval, µs", "what it is"), tuple(rows), sentence(found.explanation))


def escalation(run: MeasuredRun) -> Table:
    """Rates of this run beside those of the calibration split."""
    found, manifest = run.account, run.manifest
    promised = None if manifest is None else promised_rates(manifest)
    told = {} if promised is None else {"early": promised.early, "late": promised.late, "escalated": promised.heavy}
    about = {
        "early": "by the prior, without the light expert",
        "late": "by the light expert's confidence",
        "escalated": "reach the heavy expert",
    }
    rows = [
        (name, about[name], share(getattr(found, name)), *([f"{told[name]:.1%}"] if told else [])) for name in about
    ]
    last = ("calibration split",) if told else ()
    return Table("", ("", "", f"of {found.decisions:,} decisions (95% interval)", *last), tuple(rows))


def truth(run: MeasuredRun) -> Iterator[Table]:
    """The pruning truth test: the experts, then the layers."""
    found = run.account.truth
    if found is None:
        return
    stage = found.stage
    rows = (
        ("heavy", f"{stage.heavy_macs / 1e6:,.2f}", duration(stage.heavy_us)),
        ("light", f"{stage.light_macs / 1e6:,.2f}", duration(stage.light_us)),
        ("saved", f"{stage.macs_saved:.1%}", f"{stage.time_saved:.1%}"),
    )
    yield Table("Whole experts", ("expert", "MMACs", "time"), rows, found.note)
    if not found.layers:
        return
    if found.slow:
        yield Table("Layers that did not get faster", _LAYERS, tuple(map(_layer, found.slow)))
    rest = ", ".join(f"{duration(us)} in the {name} expert" for name, us in found.rest_us.items())
    fast = "" if found.slow else "No layer was made thinner without getting faster. "
    note = fast + (f"All that has no multiply-accumulates: {rest}." if rest else "")
    yield Table(f"All {len(found.layers)} layers", _LAYERS, tuple(map(_layer, found.layers)), note, folded=True)


def _layer(found: LayerTruth) -> tuple[str, ...]:
    gone = not found.light_us
    return (
        found.name,
        found.op,
        _channels(found.heavy_channels, found.channels),
        f"{1 - found.light_macs / found.heavy_macs:.0%}" if found.heavy_macs else "",
        duration(found.heavy_us),
        "gone" if gone else duration(found.light_us),
        f"{1 - found.light_us / found.heavy_us:.0%}" if found.heavy_us else "",
        "; ".join(part for part in (found.reason, found.advice) if part),
    )


def _channels(heavy: tuple[int, int] | None, light: tuple[int, int] | None) -> str:
    before, after = ("" if each is None else f"{each[0]}→{each[1]}" for each in (heavy, light))
    return before if before == after or not after else f"{before}, now {after}"


def prediction(run: MeasuredRun) -> Table | None:
    """The cost model beside the measurement; None where nothing was predicted."""
    found = run.account.prediction
    if found is None:
        return None
    rows = [
        (each.stage, duration(each.predicted_us), duration(each.measured_us), f"{each.error:+.0%}")
        for each in found.stages
    ]
    note = f"By {found.device} at {found.precision}{f'; {found.note}' if found.note else ''}."
    return Table("", ("stage", "predicted", "measured", "error"), tuple(rows), note)


def energy(run: MeasuredRun) -> Table | None:
    """Millijoules a decision; None where no power was read."""
    found = run.account.energy
    if found is None:
        return None
    if not found.readings:
        return None
    rows = tuple(
        (name, str(each.decisions), _mj(each.joules, each.interval), _mj(each.raw_joules), each.reason)
        for name, each in (("all", found.decision), *found.branches.items())
    )
    idle = "not known" if found.idle_w is None else f"{found.idle_w:.2f} W"
    mean = "" if found.mean_w is None else f"{found.mean_w:.2f} W during the run, "
    note = f"{found.readings} readings: {mean}idle {idle}."
    headers = ("branch", "decisions", "above idle (95% interval)", "with idle", "why not")
    return Table("", headers, rows, note)


def _mj(joules: float | None, interval: tuple[float, float] | None = None) -> str:
    if joules is None:
        return "not measured"
    low, high = (None, None) if interval is None else (1e3 * end for end in interval)
    return with_interval(f"{1e3 * joules:,.2f} mJ", low, high, ",.2f")


def served(run: MeasuredRun) -> Iterator[Table]:
    """Runs at a fixed rate, and with several inputs a call."""
    rate, batch = run.account.rate, run.account.batch
    if rate is not None:
        rows = (("from arrival to answer", *_times(rate.latency)), ("call alone", *_times(rate.service)))
        note = f"{share(rate.dropped)} of the inputs were dropped; {rate.queue} may wait."
        yield Table(f"At {rate.fps:g} inputs a second", ("", *_TIMES), rows, note)
    if batch is not None:
        calls = tuple((name, *_times(getattr(batch, name))) for name in ("heavy", "light", "cascade"))
        speed = "" if batch.inputs_per_s is None else f"The cascade answers {batch.inputs_per_s:,.0f} inputs a second."
        yield Table(f"{batch.size} inputs a call", ("a whole call", *_TIMES), calls, speed)


def device(run: MeasuredRun) -> Table:
    """What it ran on."""
    found = run.account
    rows = [("backend", found.backend), ("threads", str(found.threads))]
    rows += [(key.replace("_", " "), str(value)) for key, value in sorted(found.environment.items())]
    rows += _state(run)
    return Table("", ("", ""), tuple(rows))


def _state(run: MeasuredRun) -> Iterator[tuple[str, str]]:
    state = run.samples.state or {}
    before, after = (_mapping(state.get(name)) for name in ("before", "after"))
    mode = _mapping(before.get("power_mode"))
    if mode:
        yield "power mode", str(mode.get("name") or mode.get("number"))
    if state:
        yield "clocks locked", "yes" if state.get("locked") else "no"
        yield "power from", str(state.get("source") or "not measured")
    for key, name, unit in (
        ("clocks_mhz", "clocks", "MHz"),
        ("temperatures_c", "temperatures", "°C"),
        ("throttling", "throttling levels", ""),
        ("over_current", "over-current events", ""),
    ):
        first, last = _mapping(before.get(key)), _mapping(after.get(key))
        parts = [f"{each} {_number(value)} → {_number(last.get(each))}" for each, value in first.items()]
        if parts:
            yield f"{name}, before → after{f', {unit}' if unit else ''}", "; ".join(parts)
    problems = state.get("problems")
    if isinstance(problems, (list, tuple)) and problems:
        yield "what could not be read", "; ".join(str(each) for each in problems)


def _mapping(value: object) -> dict[str, object]:
    return {str(key): each for key, each in value.items()} if isinstance(value, dict) else {}


def _number(value: object) -> str:
    return f"{value:,.0f}" if isinstance(value, (int, float)) else "?"


def _times(latency: Latency | None) -> tuple[str, ...]:
    if latency is None:
        return ("none", "", "", "", "")
    # An interval in the unit of its mean.
    scale, form = (1000, ",.2f") if abs(latency.mean_us) >= 10_000 else (1, ",.1f")
    low, high = (None if each is None else each / scale for each in (latency.low_us, latency.high_us))
    percentiles = (duration(each) for each in (latency.p50_us, latency.p90_us, latency.p99_us))
    spread = "" if latency.variation is None else f"{latency.variation:.1%}"
    return (with_interval(duration(latency.mean_us), low, high, form), *percentiles, spread)
