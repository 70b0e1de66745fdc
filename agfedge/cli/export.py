"""`agfedge export`: a trained model and its data become a bundle."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from agfedge.cli.allocation import add_allocation, allocation_of
from agfedge.cli.output import guarantee_line, percent, print_json, print_line, print_table
from agfedge.cli.recovery import add_recovery, recovery_of
from agfedge.cli.subject import add_subject

if TYPE_CHECKING:
    from agfedge.assembling import ExportResult


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command's arguments."""
    parser = commands.add_parser("export", help="prune a light expert, recover and calibrate it, write a bundle")
    add_subject(parser)
    parser.add_argument("--out", required=True, help="folder of the bundle")
    parser.add_argument(
        "--score",
        default="agf",
        help="one of agf, fisher, flap, l1, l2, lamp, random, ria, taylor, wanda (default agf)",
    )
    add_allocation(parser)
    add_recovery(parser)
    parser.add_argument(
        "--exclude",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME",
        help="groups, or parameters, that stay whole (see `agfedge inspect`)",
    )
    parser.add_argument(
        "--per-layer",
        metavar="FILE.toml",
        help='lines such as "conv1.weight" = 0.25, or = 24; 0 drops a residual branch',
    )
    parser.add_argument(
        "--share-trunk",
        default="none",
        metavar="STAGE",
        help="both experts share the heavy expert's stages up to this one, such as layer1, and run them once "
        "(default none)",
    )
    parser.add_argument(
        "--epsilon", type=float, default=0.005, help="accuracy that the cascade may lose (default 0.005)"
    )
    parser.add_argument("--delta", type=float, default=0.05, help="probability that it loses more (default 0.05)")
    parser.add_argument("--seed", type=int, default=0, help="of everything that is drawn (default 0)")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Runs the command."""
    from agfedge.export_request import ExportRequest
    from agfedge.exporting import export

    names = ("model", "weights", "data", "out", "score", "per_layer", "share_trunk", "epsilon", "delta", "mean", "std")
    request = ExportRequest(
        **{name: getattr(arguments, name) for name in names},
        exclude=tuple(arguments.exclude),
        amount=allocation_of(arguments),
        recovery=recovery_of(arguments, arguments.seed),
    )
    result = export(request)
    if result is None:  # another process of this job leads
        return 0
    for warning in result.warnings:
        sys.stderr.write(f"agfedge: WARNING: {warning}\n")
    if arguments.json:
        print_json(_document(result))
    else:
        _print(result)
    return 0


def _document(result: ExportResult) -> dict[str, object]:
    return {
        "bundle": result.bundle.path,
        "digest": result.bundle.digest,
        "heavy": result.heavy,
        "light": result.light,
        "check": result.expert.check,
        "recovery": result.expert.recovery,
        "spent": result.expert.spent,
        "calibration": result.calibration,
        "test": result.evaluation,
        "rivals": result.rivals,
        "kept_whole": () if result.expert.plan is None else result.expert.plan.kept_whole,
        "warnings": result.warnings,
    }


def _print(result: ExportResult) -> None:
    from agfedge.calibrate import rival_table

    test = result.evaluation
    rows = [
        (
            "heavy",
            percent(test.heavy),
            f"{result.heavy.size_bytes / 1024:,.0f}",
            f"{result.heavy.macs / 1e6:,.2f}",
            f"{result.heavy.parameters:,}",
        ),
        (
            "light",
            percent(test.light),
            f"{result.light.size_bytes / 1024:,.0f}",
            f"{result.light.macs / 1e6:,.2f}",
            f"{result.light.parameters:,}",
        ),
        ("cascade", percent(test.cascade), "", "", ""),
    ]
    print_table(("expert", "test accuracy (95% interval)", "KiB", "MMACs", "parameters"), rows)
    print_line()
    if result.expert.check is not None:
        apart, what = result.expert.check.max_absolute_error, result.expert.plan_summary()
        print_line(f"removed equals masked: {apart:.1e} apart on {what}")
    guarantee = result.calibration.guarantee
    rates = "" if guarantee.threshold > 1 else f"; {percent(test.early)} early, {percent(test.late)} late"
    print_line(f"router: {result.calibration.verdict}{rates}")
    print_line(guarantee_line(guarantee))
    print_line()
    print_table(*rival_table(result.rivals))
    print_line()
    print_line(f"bundle: {result.bundle.path} ({result.bundle.digest[:12]})")
