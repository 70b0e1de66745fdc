"""What is told of a measured run as tables: the command prints those that a page shows, and that become Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agfedge.account.reconciliation import promised_rates
from agfedge.pages.tables import Table
from agfedge.pages.words import between, duration, mean_duration, ratio, sentence, share, with_interval

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agfedge.account.latency import Latency
    from agfedge.account.truth import LayerTruth
    from agfedge.reports.runs import MeasuredRun

TRUTH = "Did pruning save time?"
_ESCALATION, _TERMS, _ENERGY = "Escalation", "The terms of the difference", "Energy"
_LAYERS = ("layer", "op", "channels", "MACs saved", "heavy", "light", "time saved", "why not, what to do")
_TIMES = ("mean (95% interval)", "p50", "p90", "p99", "variation")


def sections(run: MeasuredRun) -> dict[str, list[Table]]:
    """Returns the tables of a run by the section that they stand in; what was not measured has none."""
    return {
        "Experts and cascade": [experts(run)],
        "Branches": [branches(run)],
        _TERMS: list(reconciliation(run)),
        "What a decision costs": [costs(run)],
        _ESCALATION: [escalation(run)],
        "Engines": [stages(run)],
        TRUTH: list(truth(run)),
        "Predicted and measured": list(prediction(run)),
        _ENERGY: list(energy(run)),
        "Other loads": list(served(run)),
    }


def blocks(run: MeasuredRun) -> Iterator[str | Table]:
    """Gives what a terminal shows of a run: what speaks against it first, then every table that is not folded."""
    account = run.account
    for doubt in account.findings:
        yield f"{doubt.grade.upper()}: {doubt.text}"
    if account.findings:
        yield ""
    yield f"{account.decisions} decisions at batch 1, interleaved, {run.where}"
    remarks = _remarks(run)
    for title, tables in sections(run).items():
        shown = [table for table in tables if not table.folded]
        if shown or title in remarks:
            yield from ("", title)
        for number, table in enumerate(shown):
            yield from ("", table) if number else (table,)
        if title in remarks:
            yield remarks[title]


def _remarks(run: MeasuredRun) -> dict[str, str]:
    """Returns what only a terminal shows, by the section that it stands in: a page has it elsewhere."""
    remarks, account = {}, run.account
    if run.manifest is not None and not run.manifest.router.asks_light:
        remarks[_ESCALATION] = "the router never asks the light expert: the heavy expert answers everything"
    split = account.reconciliation
    if split is not None:
        unit = "multiply-accumulates" if split.promised_unit == "macs" else split.promised_unit
        promised = duration(split.promised_us)
        remarks[_TERMS] = f"By {unit} alone, as the bundle was calibrated, a decision would take {promised}."
    if account.energy is None:
        remarks[_ENERGY] = "energy: not measured: nothing read the device's power"
    elif account.energy.decision.joules is None:
        remarks[_ENERGY] = f"energy: not measured: {account.energy.decision.reason}"
    return remarks


def experts(run: MeasuredRun) -> Table:
    """Accuracy, size and latency of both experts and the cascade."""
    account = run.account
    rows = []
    for name, row in (("heavy alone", account.heavy), ("light alone", account.light), ("cascade", account.cascade)):
        accuracy = "not labelled" if row.accuracy is None else share(row.accuracy)
        rows.append((name, accuracy, *_of_graph(run, name.split()[0]), *_times(row.latency)))
    graph = () if run.manifest is None else ("MMACs", "KiB")
    return Table(("", "accuracy (95% interval)", *graph, *_TIMES), rows)


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
        (f"{branch.name}: {branch.path}", str(branch.share.count), share(branch.share), *_times(branch.latency))
        for branch in run.account.branches
    ]
    return Table(("branch", "decisions", "share (95% interval)", *_TIMES), rows)


def stages(run: MeasuredRun) -> Table:
    """Each engine alone and inside the cascade."""
    rows = [(name, *_times(latency)) for name, latency in run.account.engine_latencies]
    return Table(("stage", *_TIMES), rows)


def costs(run: MeasuredRun) -> Table:
    """The four costs."""
    four = run.account.costs
    rows = (
        ("mixture", f"{four.mixture:.3f}", "the paper's estimate: the light expert charged only for what it keeps"),
        ("sequential", f"{four.sequential:.3f}", "light first for every input"),
        ("expected", f"{four.expected:.3f}", "what this runtime does, from the passes measured alone"),
        ("measured", ratio(four.measured), "mean latency of the cascade over that of the heavy expert"),
    )
    return Table(("cost", "heavy expert = 1", "what it is"), rows, left=(2,), note=sentence(four.explanation))


def reconciliation(run: MeasuredRun) -> Iterator[Table]:
    """Measured minus expected, term by term; nothing where it was not split."""
    split = run.account.reconciliation
    if split is None:
        return
    rows = [
        ("expected", duration(split.expected_us), "", "passes measured alone, at the rates that the bundle promised"),
        *(
            (term.name, f"{term.us:+,.2f} µs", between(term.low_us, term.high_us, "+,.2f"), term.about)
            for term in split.terms
        ),
        ("measured", duration(split.measured_us), "", "mean latency of a decision"),
    ]
    headers = ("term", "a decision", "95% interval, µs", "what it is")
    yield Table(headers, rows, left=(3,), note=sentence(split.explanation))


def escalation(run: MeasuredRun) -> Table:
    """Rates of this run beside those of the calibration split."""
    account, manifest = run.account, run.manifest
    promised = None if manifest is None else promised_rates(manifest)
    by_name = {} if promised is None else {"early": promised.early, "late": promised.late, "escalated": promised.heavy}
    about = {
        "early": "by the prior, without the light expert",
        "late": "by the light expert's confidence",
        "escalated": "reach the heavy expert",
    }
    rows = [
        (name, text, share(getattr(account, name)), *([f"{by_name[name]:.1%}"] if by_name else []))
        for name, text in about.items()
    ]
    last = ("calibration split",) if by_name else ()
    return Table(("", "", f"of {account.decisions:,} decisions (95% interval)", *last), rows, left=(1,))


def truth(run: MeasuredRun) -> Iterator[Table]:
    """The pruning truth test: the experts, then the layers; nothing where nobody knows what was pruned."""
    tested = run.account.truth
    if tested is None:
        return
    stage = tested.stage
    rows = (
        ("heavy", f"{stage.heavy_macs / 1e6:,.2f}", duration(stage.heavy_us)),
        ("light", f"{stage.light_macs / 1e6:,.2f}", duration(stage.light_us)),
        ("saved", f"{stage.macs_saved:.1%}", f"{stage.time_saved:.1%}"),
    )
    yield Table(("expert", "MMACs", "time"), rows, title="Whole experts", note=tested.note)
    if not tested.layers:
        return
    if tested.slow:
        yield Table(_LAYERS, map(_layer, tested.slow), left=(1, 7), wrap=60, title="Layers that did not get faster")
    rest = ", ".join(f"{duration(us)} in the {name} expert" for name, us in tested.rest_us.items())
    fast = "" if tested.slow else "No layer was made thinner without getting faster. "
    note = fast + (f"All that has no multiply-accumulates: {rest}." if rest else "")
    title = f"All {len(tested.layers)} layers"
    yield Table(_LAYERS, map(_layer, tested.layers), left=(1, 7), title=title, note=note, folded=True)


def _layer(layer: LayerTruth) -> tuple[str, ...]:
    return (
        layer.name,
        layer.op,
        _channels(layer.heavy_channels, layer.channels),
        f"{1 - layer.light_macs / layer.heavy_macs:.0%}" if layer.heavy_macs else "",
        duration(layer.heavy_us),
        duration(layer.light_us) if layer.light_us else "gone",
        f"{1 - layer.light_us / layer.heavy_us:.0%}" if layer.heavy_us else "",
        "; ".join(part for part in (layer.reason, layer.advice) if part),
    )


def _channels(heavy: tuple[int, int] | None, light: tuple[int, int] | None) -> str:
    before, after = ("" if sides is None else f"{sides[0]}→{sides[1]}" for sides in (heavy, light))
    return before if before == after or not after else f"{before}, now {after}"


def prediction(run: MeasuredRun) -> Iterator[Table]:
    """The cost model beside the measurement; nothing where nothing was predicted."""
    model = run.account.prediction
    if model is None:
        return
    rows = [
        (stage.stage, duration(stage.predicted_us), duration(stage.measured_us), f"{stage.error:+.0%}")
        for stage in model.stages
    ]
    note = f"By {model.device} at {model.precision}{f'; {model.note}' if model.note else ''}."
    yield Table(("stage", "predicted", "measured", "error"), rows, note=note)


def energy(run: MeasuredRun) -> Iterator[Table]:
    """Millijoules a decision; nothing where no power was read."""
    power = run.account.energy
    if power is None or not power.readings:
        return
    rows = [
        (name, str(branch.decisions), _mj(branch.joules, branch.interval), _mj(branch.raw_joules), branch.reason)
        for name, branch in (("all", power.decision), *power.branches.items())
    ]
    idle = "not known" if power.idle_w is None else f"{power.idle_w:.2f} W"
    mean = "" if power.mean_w is None else f"{power.mean_w:.2f} W during the run, "
    headers = ("branch", "decisions", "above idle (95% interval)", "with idle", "why not")
    yield Table(headers, rows, left=(4,), note=f"{power.readings} readings: {mean}idle {idle}.")


def _mj(joules: float | None, interval: tuple[float, float] | None = None) -> str:
    if joules is None:
        return "not measured"
    low, high = interval or (None, None)
    return with_interval(f"{1e3 * joules:,.2f} mJ", low, high, ",.2f", 1e3)


def served(run: MeasuredRun) -> Iterator[Table]:
    """Runs at a fixed rate, and with several inputs a call."""
    rate, batch = run.account.rate, run.account.batch
    if rate is not None:
        rows = (("from arrival to answer", *_times(rate.latency)), ("call alone", *_times(rate.service)))
        note = f"{share(rate.dropped)} of the inputs were dropped; {rate.queue} may wait."
        yield Table(("", *_TIMES), rows, title=f"At {rate.fps:g} inputs a second", note=note)
    if batch is not None:
        calls = [(name, *_times(getattr(batch, name))) for name in ("heavy", "light", "cascade")]
        speed = "" if batch.inputs_per_s is None else f"The cascade answers {batch.inputs_per_s:,.0f} inputs a second."
        yield Table(("a whole call", *_TIMES), calls, title=f"{batch.size} inputs a call", note=speed)


def device(run: MeasuredRun) -> Table:
    """What it ran on."""
    account = run.account
    rows = [("backend", account.backend), ("threads", str(account.threads))]
    rows += [(key.replace("_", " "), str(value)) for key, value in sorted(account.environment.items())]
    return Table(("", ""), [*rows, *_state(run)], left=(1,))


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
        parts = [f"{part} {_number(value)} → {_number(last.get(part))}" for part, value in first.items()]
        if parts:
            yield f"{name}, before → after{f', {unit}' if unit else ''}", "; ".join(parts)
    problems = state.get("problems")
    if isinstance(problems, (list, tuple)) and problems:
        yield "what could not be read", "; ".join(map(str, problems))


def _mapping(value: object) -> dict[str, object]:
    return {str(key): inner for key, inner in value.items()} if isinstance(value, dict) else {}


def _number(value: object) -> str:
    return f"{value:,.0f}" if isinstance(value, (int, float)) else "?"


def _times(latency: Latency | None) -> tuple[str, ...]:
    if latency is None:
        return ("none", "", "", "", "")
    mean = mean_duration(latency.mean_us, latency.low_us, latency.high_us)
    percentiles = map(duration, (latency.p50_us, latency.p90_us, latency.p99_us))
    spread = "" if latency.variation is None else f"{latency.variation:.1%}"
    return (mean, *percentiles, spread)
