"""The page of one or several profiles: what is wrong first, then the verdict, then everything behind it."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from agfedge.pages.channels import channels
from agfedge.pages.html import folded, page, section, table
from agfedge.pages.words import duration, with_interval
from agfedge.reports import tables
from agfedge.reports.comparison import comparison_tables, sentence
from agfedge.reports.plots.costs import four_costs
from agfedge.reports.plots.latency import latencies
from agfedge.reports.plots.pareto import pareto
from agfedge.reports.plots.power import has_power, power
from agfedge.reports.plots.waterfall import waterfall
from agfedge.reports.verdict import agreement, verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from agfedge.reports.profile import Profile
    from agfedge.reports.tables import Table
    from agfedge_export import Plan

_TRUTH = "Did pruning save time?"
_NO_BUNDLE = "the bundle was not named beside the samples"


def report_page(profiles: Sequence[Profile], warnings: Sequence[str] = (), command: str = "") -> str:
    """Returns the page, self-contained.

    Args:
        profiles: one or more.
        warnings: that stand before anything else, a sentence each.
        command: that made it, as it was typed; left out where empty.
    """
    several = len(profiles) > 1
    body = [*_wrong(profiles, warnings), f'<p class="verdict">{escape(verdict_of(profiles))}</p>']
    body += _compared(profiles) if several else _single(profiles[0])
    body.append(section("How this was made", _made(profiles, command)))
    name = " beside ".join(profile.name for profile in profiles) if several else _title(profiles[0])
    return page(f"agfedge profile: {name}", body)


def verdict_of(profiles: Sequence[Profile]) -> str:
    """Returns the sentence that a report begins with."""
    return verdict(profiles[0]) if len(profiles) == 1 else sentence(profiles)


def _title(profile: Profile) -> str:
    return profile.name if profile.bundle is None else profile.bundle.manifest.name


def _wrong(profiles: Sequence[Profile], warnings: Sequence[str]) -> Iterator[str]:
    for text in warnings:
        yield _finding("warning", text)
    for profile in profiles:
        for finding in profile.account.findings:
            text = f"{profile.name}: {finding.text}" if len(profiles) > 1 else finding.text
            yield _finding(finding.grade, text)


def _finding(grade: str, text: str) -> str:
    css_class = "unstable" if grade == "warning" else escape(grade)
    return f'<p class="finding {css_class}" role="note"><b>{escape(grade)}</b> {escape(text)}</p>'


def _single(profile: Profile) -> Iterator[str]:
    yield _tiles(profile)
    plots = (
        section("Cost against accuracy", pareto([profile])),
        section("Latency by branch", latencies([profile])),
        section("Measured minus expected", _split(profile)),
        section("The four costs", four_costs(profile.account.costs)),
        section("Kept channels", _channels(profile)),
        section("Power over time", _power(profile)),
    )
    yield _side_by_side(plots)
    yield from (section(title, "".join(map(_table, found))) for title, found in _tables(profile).items() if found)
    if profile.account.truth is None:
        yield section(_TRUTH, _not(f"Not told: {_NO_BUNDLE if profile.bundle is None else 'nothing to compare'}."))
    yield section("Device and software", _table(tables.device(profile)))


def _tables(profile: Profile) -> dict[str, list[Table]]:
    """Returns the tables by the section that they stand in."""
    found: dict[str, Sequence[Table | None]] = {
        "Experts and cascade": [tables.experts(profile)],
        "Branches": [tables.branches(profile)],
        "The terms of the difference": [tables.reconciliation(profile)],
        "What a decision costs": [tables.costs(profile)],
        "Escalation": [tables.escalation(profile)],
        "Engines": [tables.stages(profile)],
        _TRUTH: list(tables.truth(profile)),
        "Predicted and measured": [tables.prediction(profile)],
        "Energy": [tables.energy(profile)],
        "Other loads": list(tables.served(profile)),
    }
    return {title: [each for each in those if each is not None] for title, those in found.items()}


def _side_by_side(sections: Iterable[str]) -> str:
    return f'<div class="plots">{"".join(sections)}</div>'


def _tiles(profile: Profile) -> str:
    found = profile.account
    cost, cascade = found.costs.measured, found.cascade
    accuracy = cascade.accuracy
    tiles = [
        (f"{cost.value:.3f}", with_interval("of the heavy expert's latency", cost.low, cost.high, ".3f")),
        (duration(cascade.latency.mean_us), f"mean of {found.decisions:,} decisions"),
        (duration(cascade.latency.p99_us), "99th percentile"),
        (f"{agreement(profile):.1%}", "answered as the heavy expert does")
        if accuracy is None
        else (f"{accuracy.value:.1%}", f"right, of {accuracy.samples:,} inputs"),
        (f"{found.escalated.value:.1%}", "reach the heavy expert"),
    ]
    joules = None if found.energy is None else found.energy.decision.joules
    told = (
        ("n/a", "energy a decision: not measured")
        if joules is None
        else (f"{1e3 * joules:,.2f} mJ", "a decision, above idle")
    )
    tiles.append(told)
    inner = "".join(f"<div><b>{escape(value)}</b><small>{escape(about)}</small></div>" for value, about in tiles)
    return f'<div class="tiles">{inner}</div>'


def _split(profile: Profile) -> str:
    why = _NO_BUNDLE if profile.bundle is None else "this run did not record the cascade's stages"
    return waterfall([profile]) or _not(f"Not split: {why}.")


def _channels(profile: Profile) -> str:
    drawn = None if profile.plan is None else channels({profile.name: profile.plan})
    if drawn is not None:
        return drawn
    if profile.bundle is None:
        return _not(f"Not known: {_NO_BUNDLE}.")
    return _not("The light expert was not pruned out of the heavy one: there is no plan in the bundle.")


def _power(profile: Profile) -> str:
    drawn = power([profile]) or ""
    if has_power(profile):
        return drawn
    why = "the device's state was not recorded" if profile.samples.state is None else "this device tells none"
    return _not(f"Power: not measured ({why}).") + drawn


def _compared(profiles: Sequence[Profile]) -> Iterator[str]:
    plots = [section("Cost against accuracy", pareto(profiles)), section("Latency by branch", latencies(profiles))]
    plots.append(section("Measured minus expected", waterfall(profiles) or _not(f"Not split: {_NO_BUNDLE}.")))
    kept = channels(_plans(profiles))
    if kept is not None:
        plots.append(section("Kept channels", kept))
    measured = any(has_power(profile) for profile in profiles)
    plots.append(
        section("Power over time", ("" if measured else _not("Power: not measured.")) + (power(profiles) or ""))
    )
    yield _side_by_side(plots)
    yield section("Side by side", "".join(map(_table, comparison_tables(profiles))))
    for profile in profiles:
        yield section(f"Device and software: {profile.name}", _table(tables.device(profile)))


def _plans(profiles: Sequence[Profile]) -> dict[str, Plan]:
    """Plans that differ, by the first profile that has each."""
    found: dict[str, Plan] = {}
    for profile in profiles:
        if profile.plan is not None and profile.plan not in found.values():
            found[profile.name] = profile.plan
    return found


def _made(profiles: Sequence[Profile], command: str) -> str:
    from agfedge.base import __version__

    rows = [(profile.name, f"{_title(profile)}, {profile.samples.bundle_digest[:12]}") for profile in profiles]
    head = f"<pre><code>{escape(command)}</code></pre>" if command else ""
    return (
        head + table(("profile", "bundle"), rows, tight=True) + f"<p><small>agfedge {escape(__version__)}</small></p>"
    )


def _table(found: Table) -> str:
    grid = table(found.headers, found.rows, tight=True)
    note = f"<p>{escape(found.note)}</p>" if found.note else ""
    if found.folded:
        return folded(found.title, grid) + note
    return (f"<h3>{escape(found.title)}</h3>" if found.title else "") + grid + note


def _not(text: str) -> str:
    return f'<p class="none">{escape(text)}</p>'


def markdown(profiles: Sequence[Profile], warnings: Sequence[str] = ()) -> str:
    """Returns the tables for a README, after what is wrong and the verdict."""
    notes = [f"**warning**: {text}" for text in warnings]
    notes += [
        f"**{finding.grade}**: {profile.name}: {finding.text}"
        for profile in profiles
        for finding in profile.account.findings
    ]
    notes.append(verdict_of(profiles))
    title = "Profiles side by side" if len(profiles) > 1 else _title(profiles[0])
    return tables.to_markdown(title, _every_table(profiles), notes)


def notebook(profiles: Sequence[Profile]) -> str:
    """Returns the verdict and the tables as HTML, without a page around them."""
    return f"<p>{escape(verdict_of(profiles))}</p>" + "".join(map(_table, _every_table(profiles)))


def _every_table(profiles: Sequence[Profile]) -> Sequence[Table]:
    if len(profiles) > 1:
        return comparison_tables(profiles)
    found = [each for those in _tables(profiles[0]).values() for each in those]
    return [*found, tables.device(profiles[0])]
