"""`agfedge profile`: what a bundle really costs, beside what was promised."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from agfedge.cli.output import print_json, print_line, print_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agfedge.profile.account import Account, ExpertAccount
    from agfedge_runtime import Bundle
    from agfedge_runtime.manifest import Expert, Trunk


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command's arguments."""
    parser = commands.add_parser("profile", help="measure latency and cost of a bundle, beside the estimates")
    parser.add_argument("bundle", metavar="BUNDLE", help="the bundle's folder")
    parser.add_argument("--on", metavar="TARGET", help="where it was deployed; measured there by what was shipped")
    parser.add_argument("--data", help="labelled inputs, as in export; without it the golden inputs, and no accuracy")
    parser.add_argument("--decisions", type=int, help="default: 600, or every input once where there are more")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default 1)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the raw samples here")
    parser.add_argument("--json", action="store_true", help="print the account as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Runs the command."""
    from agfedge.data import load_arrays
    from agfedge.deploy.last_profile import keep_profile
    from agfedge.deploy.target import open_target
    from agfedge.profile.account import account
    from agfedge.profile.measuring import Measurement, measure_bundle
    from agfedge_runtime import Bundle
    from agfedge_runtime.atomic import write_text

    bundle = Bundle.open(arguments.bundle)
    data = None if arguments.data is None else load_arrays(arguments.data, bundle.manifest.classes)
    target = None if arguments.on is None else open_target(arguments.on)
    asked = Measurement(target, None if data is None else data.x, arguments.decisions, arguments.threads)
    samples = measure_bundle(bundle, asked)
    found = account(samples, None if data is None else data.y)
    if target is not None:
        keep_profile(target, found)
    if arguments.out is not None:
        write_text(arguments.out, samples.to_json())
    if arguments.json:
        print_json({**vars(found), "explanation": found.costs.explanation})
    else:
        _print(bundle, found)
    return 0


def _print(bundle: Bundle, found: Account) -> None:
    experts = bundle.manifest.experts
    print_line(f"{found.decisions} decisions at batch 1, interleaved, {found.backend} on {found.threads} thread(s)")
    rows = [
        _row("heavy", found.heavy, bundle, (experts.trunk, experts.heavy)),
        _row("light", found.light, bundle, (experts.trunk, experts.light)),
        _row("cascade", found.cascade, bundle, ()),
    ]
    print_table(("", "accuracy (95% interval)", "KiB", "MMACs", "p50 us", "p90 us", "mean us"), rows)
    print_line()
    print_line(_escalation(bundle, found))
    print_line()
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


def _escalation(bundle: Bundle, found: Account) -> str:
    if bundle.manifest.router.confidence.threshold > 1:
        return "the router never asks the light expert: the heavy expert answers everything"
    early, late = 100 * found.early.value, 100 * found.late.value
    return (
        f"escalated: {early:.1f}% early by the prior, {late:.1f}% late by the confidence "
        f"({early + late:.1f}% reach the heavy expert)"
    )


def _row(name: str, row: ExpertAccount, bundle: Bundle, graphs: Sequence[Expert | Trunk | None]) -> tuple[str, ...]:
    accuracy = row.accuracy
    latency = row.latency
    shown = (
        ""
        if accuracy is None
        else f"{100 * accuracy.value:.2f}% ({100 * accuracy.low:.1f} to {100 * accuracy.high:.1f})"
    )
    parts = [graph for graph in graphs if graph is not None]
    size = f"{sum(bundle.manifest.files[graph.file].size for graph in parts) / 1024:,.0f}" if parts else ""
    macs = f"{sum(graph.macs for graph in parts) / 1e6:,.2f}" if parts else ""
    return (name, shown, size, macs, _us(latency.p50_us), _us(latency.p90_us), _us(latency.mean_us))


def _us(value: float | None) -> str:
    return "too few" if value is None else f"{value:,.1f}"
