"""What `agfedge profile` prints for people: what speaks against the run first, then its numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agfedge.cli.output import percent, print_line, print_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agfedge.account.account import Account, ExpertAccount
    from agfedge.account.latency import Latency
    from agfedge.account.truth import LayerTruth
    from agfedge_runtime import Bundle
    from agfedge_runtime.manifest import Expert, Trunk


def print_account(bundle: Bundle, found: Account) -> None:
    """Prints an account of a bundle."""
    for finding in found.findings:
        print_line(f"{finding.grade.upper()}: {finding.text}")
    if found.findings:
        print_line()
    where = f"{found.backend} at {found.environment.get('precision', 'fp32')} on {found.threads} thread(s)"
    print_line(f"{found.decisions} decisions at batch 1, interleaved, {where}")
    _print_experts(bundle, found)
    _print_parts(found)
    print_line()
    print_line(_escalation(bundle, found))
    print_line()
    _print_costs(found)
    _print_reconciliation(found)
    _print_truth(found)
    _print_prediction(found)
    _print_energy(found)
    _print_served(found)


def _print_experts(bundle: Bundle, found: Account) -> None:
    experts = bundle.manifest.experts
    rows = [
        _row("heavy", found.heavy, bundle, (experts.trunk, experts.heavy)),
        _row("light", found.light, bundle, (experts.trunk, experts.light)),
        _row("cascade", found.cascade, bundle, ()),
    ]
    print_table(("", "accuracy (95% interval)", "KiB", "MMACs", "p50 us", "p90 us", "p99 us", "mean us"), rows)


def _print_parts(found: Account) -> None:
    """Prints the branches apart, then the stages apart."""
    rows = [
        (f"{each.name}: {each.path}", str(each.share.count), percent(each.share), *_times(each.latency))
        for each in found.branches
    ]
    print_line()
    print_table(("branch", "decisions", "share (95% interval)", *_TIMES), rows)
    stages = [(f"{each.name} alone", *_times(each.alone)) for each in found.stages]
    stages += [(f"{each.name} in the cascade", *_times(each.inside)) for each in found.stages if each.inside]
    stages += [
        (f"{each.name} {part}, device's clock", *_times(latency))
        for each in found.stages
        for part, latency in each.device.items()
    ]
    if found.overhead is not None:
        stages.append(("beside the stages", *_times(found.overhead)))
    print_line()
    print_table(("stage", *_TIMES), stages)


def _print_costs(found: Account) -> None:
    costs = found.costs
    measured = f"{costs.measured.value:.3f} ({costs.measured.low:.3f} to {costs.measured.high:.3f})"
    print_table(
        ("cost, heavy expert = 1", "value"),
        [
            ("mixture (the paper's estimate)", f"{costs.mixture:.3f}"),
            ("sequential (light first, always)", f"{costs.sequential:.3f}"),
            ("expected (this runtime)", f"{costs.expected:.3f}"),
            ("measured (95% interval)", measured),
        ],
    )
    print_line(f"{costs.explanation}.")


def _print_reconciliation(found: Account) -> None:
    account = found.reconciliation
    if account is None:
        return
    rows = [("expected at the promised rates", f"{account.expected_us:,.2f}", "")]
    rows += [
        (each.name, f"{each.us:+,.2f}", _interval(each.low_us, each.high_us, 2) if each.samples else each.about)
        for each in account.terms
    ]
    rows.append(("measured", f"{account.measured_us:,.2f}", ""))
    print_line()
    print_table(("a decision's mean", "us", "95% interval"), rows)
    print_line(f"{account.explanation}.")
    unit = "multiply-accumulates" if account.promised_unit == "macs" else account.promised_unit
    print_line(f"By {unit} alone, as the bundle was calibrated, it would be {account.promised_us:,.1f} us.")


def _print_truth(found: Account) -> None:
    truth = found.truth
    if truth is None:
        return
    stage = truth.stage
    print_line()
    print_line(
        f"pruning saved {stage.macs_saved:.1%} of the MACs and {stage.time_saved:.1%} of the time "
        f"({stage.heavy_us:,.1f} to {stage.light_us:,.1f} us){f'; {truth.note}' if truth.note else ''}"
    )
    slow = truth.slow
    if not slow:
        return
    print_line(f"{len(slow)} of {len(truth.layers)} layers did not get faster as their MACs say:")
    rows = [(each.name, _channels(each), f"{each.heavy_us:,.1f} to {each.light_us:,.1f}", each.reason) for each in slow]
    print_table(("layer", "channels", "us", "likely"), rows)
    for advice in dict.fromkeys(each.advice for each in slow):
        names = [each.name for each in slow if each.advice == advice]
        print_line(f"{names[0]}{f' and {len(names) - 1} more' if len(names) > 1 else ''}: {advice}")


def _channels(layer: LayerTruth) -> str:
    if layer.channels is None or layer.heavy_channels is None:
        return ""
    before, after = ("->".join(map(str, each)) for each in (layer.heavy_channels, layer.channels))
    return f"{before} to {after}"


def _print_prediction(found: Account) -> None:
    prediction = found.prediction
    if prediction is None:
        return
    rows = [
        (each.stage, f"{each.predicted_us:,.1f}", f"{each.measured_us:,.1f}", f"{each.error:+.0%}")
        for each in prediction.stages
    ]
    print_line()
    print_table((f"cost model: {prediction.device}", "predicted us", "measured us", "error"), rows)
    if prediction.note:
        print_line(prediction.note)


def _print_energy(found: Account) -> None:
    energy = found.energy
    print_line()
    if energy is None:
        print_line("energy: not measured: nothing read the device's power")
        return
    if energy.decision.joules is None:
        print_line(f"energy: not measured: {energy.decision.reason}")
        return
    for name, branch in {"a decision": energy.decision, **energy.branches}.items():
        if branch.joules is None or branch.interval is None:
            print_line(f"energy of {name}: not measured: {branch.reason}")
            continue
        low, high = (f"{1000 * each:,.2f}" for each in branch.interval)
        print_line(f"energy of {name}: {1000 * branch.joules:,.2f} mJ above idle ({low} to {high})")


def _print_served(found: Account) -> None:
    rate, batch = found.rate, found.batch
    if rate is not None:
        print_line()
        print_line(f"at {rate.fps:g} inputs a second: {percent(rate.dropped)} dropped")
        print_table(
            ("since it was due", *_TIMES),
            [("latency", *_times(rate.latency)), ("the call alone", *_times(rate.service))],
        )
    if batch is not None:
        print_line()
        rows = {"heavy": batch.heavy, "light": batch.light, "cascade": batch.cascade}
        print_table((f"{batch.size} inputs a call", *_TIMES), [(name, *_times(each)) for name, each in rows.items()])
        if batch.inputs_per_s is not None:
            print_line(f"{batch.inputs_per_s:,.0f} inputs a second")


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
