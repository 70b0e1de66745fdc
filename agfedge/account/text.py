"""An account for people: what speaks against the run first, then its numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agfedge.pages.tables import Table, percent

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from agfedge.account.account import Account, ExpertAccount
    from agfedge.account.latency import Latency
    from agfedge.account.truth import LayerTruth
    from agfedge_runtime import Bundle
    from agfedge_runtime.bundle.manifest import Expert, Trunk


def account_blocks(bundle: Bundle, found: Account) -> Iterator[str | Table]:
    """Gives an account of a bundle as lines and tables."""
    for finding in found.findings:
        yield f"{finding.grade.upper()}: {finding.text}"
    if found.findings:
        yield ""
    where = f"{found.backend} at {found.environment.get('precision', 'fp32')} on {found.threads} thread(s)"
    yield f"{found.decisions} decisions at batch 1, interleaved, {where}"
    yield from _experts(bundle, found)
    yield from _parts(found)
    yield ""
    yield _escalation(bundle, found)
    yield ""
    yield from _costs(found)
    yield from _reconciliation(found)
    yield from _truth(found)
    yield from _prediction(found)
    yield from _energy(found)
    yield from _served(found)


def _experts(bundle: Bundle, found: Account) -> Iterator[str | Table]:
    experts = bundle.manifest.experts
    rows = [
        _row("heavy", found.heavy, bundle, (experts.trunk, experts.heavy)),
        _row("light", found.light, bundle, (experts.trunk, experts.light)),
        _row("cascade", found.cascade, bundle, ()),
    ]
    yield Table(("", "accuracy (95% interval)", "KiB", "MMACs", "p50 us", "p90 us", "p99 us", "mean us"), rows)


def _parts(found: Account) -> Iterator[str | Table]:
    """Prints the branches apart, then the stages apart."""
    rows = [
        (f"{each.name}: {each.path}", str(each.share.count), percent(each.share), *_times(each.latency))
        for each in found.branches
    ]
    yield ""
    yield Table(("branch", "decisions", "share (95% interval)", *_TIMES), rows)
    stages = [(f"{each.name} alone", *_times(each.alone)) for each in found.stages]
    stages += [(f"{each.name} in the cascade", *_times(each.inside)) for each in found.stages if each.inside]
    stages += [
        (f"{each.name} {part}, device's clock", *_times(latency))
        for each in found.stages
        for part, latency in each.device.items()
    ]
    if found.overhead is not None:
        stages.append(("beside the stages", *_times(found.overhead)))
    yield ""
    yield Table(("stage", *_TIMES), stages)


def _costs(found: Account) -> Iterator[str | Table]:
    costs = found.costs
    measured = f"{costs.measured.value:.3f} ({costs.measured.low:.3f} to {costs.measured.high:.3f})"
    yield Table(
        ("cost, heavy expert = 1", "value"),
        [
            ("mixture (the paper's estimate)", f"{costs.mixture:.3f}"),
            ("sequential (light first, always)", f"{costs.sequential:.3f}"),
            ("expected (this runtime)", f"{costs.expected:.3f}"),
            ("measured (95% interval)", measured),
        ],
    )
    yield f"{costs.explanation}."


def _reconciliation(found: Account) -> Iterator[str | Table]:
    account = found.reconciliation
    if account is None:
        return
    rows = [("expected at the promised rates", f"{account.expected_us:,.2f}", "")]
    rows += [
        (each.name, f"{each.us:+,.2f}", _interval(each.low_us, each.high_us, 2) if each.samples else each.about)
        for each in account.terms
    ]
    rows.append(("measured", f"{account.measured_us:,.2f}", ""))
    yield ""
    yield Table(("a decision's mean", "us", "95% interval"), rows)
    yield f"{account.explanation}."
    unit = "multiply-accumulates" if account.promised_unit == "macs" else account.promised_unit
    yield f"By {unit} alone, as the bundle was calibrated, it would be {account.promised_us:,.1f} us."


def _truth(found: Account) -> Iterator[str | Table]:
    truth = found.truth
    if truth is None:
        return
    stage = truth.stage
    yield ""
    yield (
        f"pruning saved {stage.macs_saved:.1%} of the MACs and {stage.time_saved:.1%} of the time "
        f"({stage.heavy_us:,.1f} to {stage.light_us:,.1f} us){f'; {truth.note}' if truth.note else ''}"
    )
    slow = truth.slow
    if not slow:
        return
    yield f"{len(slow)} of {len(truth.layers)} layers did not get faster as their MACs say:"
    rows = [(each.name, _channels(each), f"{each.heavy_us:,.1f} to {each.light_us:,.1f}", each.reason) for each in slow]
    yield Table(("layer", "channels", "us", "likely"), rows)
    for advice in dict.fromkeys(each.advice for each in slow):
        names = [each.name for each in slow if each.advice == advice]
        yield f"{names[0]}{f' and {len(names) - 1} more' if len(names) > 1 else ''}: {advice}"


def _channels(layer: LayerTruth) -> str:
    if layer.channels is None or layer.heavy_channels is None:
        return ""
    before, after = ("->".join(map(str, each)) for each in (layer.heavy_channels, layer.channels))
    return f"{before} to {after}"


def _prediction(found: Account) -> Iterator[str | Table]:
    prediction = found.prediction
    if prediction is None:
        return
    rows = [
        (each.stage, f"{each.predicted_us:,.1f}", f"{each.measured_us:,.1f}", f"{each.error:+.0%}")
        for each in prediction.stages
    ]
    yield ""
    yield Table((f"cost model: {prediction.device}", "predicted us", "measured us", "error"), rows)
    if prediction.note:
        yield prediction.note


def _energy(found: Account) -> Iterator[str | Table]:
    energy = found.energy
    yield ""
    if energy is None:
        yield "energy: not measured: nothing read the device's power"
        return
    if energy.decision.joules is None:
        yield f"energy: not measured: {energy.decision.reason}"
        return
    for name, branch in {"a decision": energy.decision, **energy.branches}.items():
        if branch.joules is None or branch.interval is None:
            yield f"energy of {name}: not measured: {branch.reason}"
            continue
        low, high = (f"{1000 * each:,.2f}" for each in branch.interval)
        yield f"energy of {name}: {1000 * branch.joules:,.2f} mJ above idle ({low} to {high})"


def _served(found: Account) -> Iterator[str | Table]:
    rate, batch = found.rate, found.batch
    if rate is not None:
        yield ""
        yield f"at {rate.fps:g} inputs a second: {percent(rate.dropped)} dropped"
        yield Table(
            ("since it was due", *_TIMES),
            [("latency", *_times(rate.latency)), ("the call alone", *_times(rate.service))],
        )
    if batch is not None:
        yield ""
        rows = {"heavy": batch.heavy, "light": batch.light, "cascade": batch.cascade}
        yield Table((f"{batch.size} inputs a call", *_TIMES), [(name, *_times(each)) for name, each in rows.items()])
        if batch.inputs_per_s is not None:
            yield f"{batch.inputs_per_s:,.0f} inputs a second"


def _escalation(bundle: Bundle, found: Account) -> str:
    if bundle.manifest.router.confidence.threshold > 1:
        return "the router never asks the light expert: the heavy expert answers everything"
    early, late = 100 * found.early.value, 100 * found.late.value
    return (
        f"escalated: {early:.1f}% early by the prior, {late:.1f}% late by the confidence; {percent(found.escalated)} "
        "reach the heavy expert"
    )


def _row(name: str, row: ExpertAccount, bundle: Bundle, graphs: Sequence[Expert | Trunk | None]) -> tuple[str, ...]:
    latency = row.latency
    shown = "" if row.accuracy is None else percent(row.accuracy)
    parts = [graph for graph in graphs if graph is not None]
    size = f"{sum(bundle.manifest.files[graph.file].size for graph in parts) / 1024:,.0f}" if parts else ""
    macs = f"{sum(graph.macs for graph in parts) / 1e6:,.2f}" if parts else ""
    times = (latency.p50_us, latency.p90_us, latency.p99_us, latency.mean_us)
    return (name, shown, size, macs, *map(_us, times))


_TIMES = ("mean us (95% interval)", "p50 us", "p90 us", "p99 us", "variation")


def _times(latency: Latency | None) -> tuple[str, ...]:
    if latency is None:
        return ("none", "", "", "", "")
    interval = _interval(latency.low_us, latency.high_us)
    mean = f"{latency.mean_us:,.1f}{f' ({interval})' if interval else ''}"
    spread = "" if latency.variation is None else f"{latency.variation:.1%}"
    return (mean, _us(latency.p50_us), _us(latency.p90_us), _us(latency.p99_us), spread)


def _interval(low: float | None, high: float | None, digits: int = 1) -> str:
    return "" if low is None or high is None else f"{low:,.{digits}f} to {high:,.{digits}f}"


def _us(value: float | None) -> str:
    return "too few" if value is None else f"{value:,.1f}"
