"""The page of one or several measured runs: what is wrong first, then the verdict, then everything behind it."""

from __future__ import annotations

from html import escape
from itertools import chain
from typing import TYPE_CHECKING

from agfedge.pages.channels import channels
from agfedge.pages.html import page, section, table, whole
from agfedge.pages.tables import markdown as tables_in_markdown
from agfedge.pages.words import duration, ratio, sentence, with_interval
from agfedge.reports.cost_plots import four_costs, pareto
from agfedge.reports.numbers import comparison_tables, comparison_verdict
from agfedge.reports.tables import TRUTH, device, sections
from agfedge.reports.time_plots import has_power, latencies, power, waterfall

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from agfedge.pages.tables import Table
    from agfedge.reports.runs import MeasuredRun
    from agfedge_export import Plan

_NO_BUNDLE = "the bundle was not named beside the samples"


def report_page(runs: Sequence[MeasuredRun], warnings: Sequence[str] = (), command: str = "") -> str:
    """Returns the page, self-contained.

    Args:
        runs: one or more.
        warnings: that stand before anything else, a sentence each.
        command: that made it, as it was typed; left out where empty.
    """
    several = len(runs) > 1
    body = [*_wrong(runs, warnings), f'<p class="verdict">{escape(verdict_of(runs))}</p>']
    body += _compared(runs) if several else _single(runs[0])
    body.append(section("How this was made", _made(runs, command)))
    name = " beside ".join(run.name for run in runs) if several else _title(runs[0])
    return page(f"agfedge profile: {name}", body)


def verdict_of(runs: Sequence[MeasuredRun]) -> str:
    """Returns the sentence that a report begins with."""
    return verdict(runs[0]) if len(runs) == 1 else comparison_verdict(runs)


def _title(run: MeasuredRun) -> str:
    return run.name if run.bundle is None else run.bundle.manifest.name


def _wrong(runs: Sequence[MeasuredRun], warnings: Sequence[str]) -> Iterator[str]:
    for text in warnings:
        yield _finding("warning", text)
    for run in runs:
        for finding in run.account.findings:
            text = f"{run.name}: {finding.text}" if len(runs) > 1 else finding.text
            yield _finding(finding.grade, text)


def _finding(grade: str, text: str) -> str:
    css_class = "unstable" if grade == "warning" else escape(grade)
    return f'<p class="finding {css_class}" role="note"><b>{escape(grade)}</b> {escape(text)}</p>'


def _single(run: MeasuredRun) -> Iterator[str]:
    yield _tiles(run)
    plots = (
        section("Cost against accuracy", pareto([run])),
        section("Latency by branch", latencies([run])),
        section("Measured minus expected", _split(run)),
        section("The four costs", four_costs(run.account.costs)),
        section("Kept channels", _channels(run)),
        section("Power over time", _power(run)),
    )
    yield _side_by_side(plots)
    yield from (section(title, "".join(map(whole, tables))) for title, tables in sections(run).items() if tables)
    if run.account.truth is None:
        yield section(TRUTH, _not(f"Not told: {_NO_BUNDLE if run.bundle is None else 'nothing to compare'}."))
    yield section("Device and software", whole(device(run)))


def _side_by_side(sections: Iterable[str]) -> str:
    return f'<div class="plots">{"".join(sections)}</div>'


def _tiles(run: MeasuredRun) -> str:
    account = run.account
    cost, cascade = account.costs.measured, account.cascade
    accuracy = cascade.accuracy
    tiles = [
        (f"{cost.value:.3f}", with_interval("of the heavy expert's latency", *cost.interval, ".3f")),
        (duration(cascade.latency.mean_us), f"mean of {account.decisions:,} decisions"),
        (duration(cascade.latency.p99_us), "99th percentile"),
        (f"{run.agreement:.1%}", "answered as the heavy expert does")
        if accuracy is None
        else (f"{accuracy.value:.1%}", f"right, of {accuracy.samples:,} inputs"),
        (f"{account.escalated.value:.1%}", "reach the heavy expert"),
    ]
    joules = None if account.energy is None else account.energy.decision.joules
    energy = (
        ("n/a", "energy a decision: not measured")
        if joules is None
        else (f"{1e3 * joules:,.2f} mJ", "a decision, above idle")
    )
    tiles.append(energy)
    inner = "".join(f"<div><b>{escape(value)}</b><small>{escape(about)}</small></div>" for value, about in tiles)
    return f'<div class="tiles">{inner}</div>'


def _split(run: MeasuredRun) -> str:
    why = _NO_BUNDLE if run.bundle is None else "this run did not record the cascade's stages"
    return waterfall([run]) or _not(f"Not split: {why}.")


def _channels(run: MeasuredRun) -> str:
    drawn = None if run.plan is None else channels({run.name: run.plan})
    if drawn is not None:
        return drawn
    if run.bundle is None:
        return _not(f"Not known: {_NO_BUNDLE}.")
    return _not("The light expert was not pruned out of the heavy one: there is no plan in the bundle.")


def _power(run: MeasuredRun) -> str:
    drawn = power([run]) or ""
    if has_power(run):
        return drawn
    why = "the device's state was not recorded" if run.samples.state is None else "this device tells none"
    return _not(f"Power: not measured ({why}).") + drawn


def _compared(runs: Sequence[MeasuredRun]) -> Iterator[str]:
    plots = [section("Cost against accuracy", pareto(runs)), section("Latency by branch", latencies(runs))]
    plots.append(section("Measured minus expected", waterfall(runs) or _not(f"Not split: {_NO_BUNDLE}.")))
    kept = channels(_plans(runs))
    if kept is not None:
        plots.append(section("Kept channels", kept))
    measured = any(has_power(run) for run in runs)
    plots.append(section("Power over time", ("" if measured else _not("Power: not measured.")) + (power(runs) or "")))
    yield _side_by_side(plots)
    yield section("Side by side", "".join(map(whole, comparison_tables(runs))))
    for run in runs:
        yield section(f"Device and software: {run.name}", whole(device(run)))


def _plans(runs: Sequence[MeasuredRun]) -> dict[str, Plan]:
    """Plans that differ, by the first run that has each."""
    plans: dict[str, Plan] = {}
    for run in runs:
        if run.plan is not None and run.plan not in plans.values():
            plans[run.name] = run.plan
    return plans


def _made(runs: Sequence[MeasuredRun], command: str) -> str:
    from agfedge.base import __version__

    rows = [(run.name, f"{_title(run)}, {run.samples.bundle_digest[:12]}") for run in runs]
    head = f"<pre><code>{escape(command)}</code></pre>" if command else ""
    return (
        head + table(("profile", "bundle"), rows, tight=True) + f"<p><small>agfedge {escape(__version__)}</small></p>"
    )


def _not(text: str) -> str:
    return f'<p class="none">{escape(text)}</p>'


def markdown(runs: Sequence[MeasuredRun], warnings: Sequence[str] = ()) -> str:
    """Returns the tables for a README, after what is wrong and the verdict."""
    notes = [f"**warning**: {text}" for text in warnings]
    notes += [f"**{finding.grade}**: {run.name}: {finding.text}" for run in runs for finding in run.account.findings]
    notes.append(verdict_of(runs))
    title = "Profiles side by side" if len(runs) > 1 else _title(runs[0])
    return tables_in_markdown(title, _every_table(runs), notes)


def notebook(runs: Sequence[MeasuredRun]) -> str:
    """Returns the verdict and the tables as HTML, without a page around them."""
    return f"<p>{escape(verdict_of(runs))}</p>" + "".join(map(whole, _every_table(runs)))


def _every_table(runs: Sequence[MeasuredRun]) -> Sequence[Table]:
    if len(runs) > 1:
        return comparison_tables(runs)
    return [*chain.from_iterable(sections(runs[0]).values()), device(runs[0])]


def verdict(run: MeasuredRun) -> str:
    """Returns the sentence."""
    account = run.account
    cost = account.costs.measured
    said = (
        f"the cascade takes {duration(account.cascade.latency.mean_us)} a decision on {run.where}: {ratio(cost)} "
        f"of the heavy expert alone, where {account.costs.expected:.3f} was "
        f"expected{_accuracy(run)}"
    )
    if cost.low > 1:
        said += "; it is slower than the heavy expert, so run that alone here"
    elif cost.high > 1:
        said += "; whether it is faster than the heavy expert this run cannot say"
    if not account.valid:
        return f"These numbers do not count: {said}."
    return sentence(said)


def _accuracy(run: MeasuredRun) -> str:
    cascade, heavy = run.account.cascade.accuracy, run.account.heavy.accuracy
    if cascade is None or heavy is None:
        return f"; it answers as the heavy expert does in {run.agreement:.1%} of the decisions"
    return f"; it is right on {cascade.value:.1%} of the inputs, the heavy expert on {heavy.value:.1%}"
