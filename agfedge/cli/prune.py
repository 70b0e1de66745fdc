"""`agfedge prune`: channels leave a bare ONNX file."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from agfedge.cli.allocation import add_allocation, allocation_of
from agfedge.cli.arguments import fields_of
from agfedge.cli.bars import print_bars
from agfedge.cli.exceptions import add_exceptions
from agfedge.cli.output import print_json, print_line, print_table

if TYPE_CHECKING:
    from agfedge.allocate import Spent
    from agfedge.pruning import PruneRequest, PruneResult

# Of more groups no bars are printed: `agfedge inspect --plan` shows them.
MOST_BARS = 40


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command's arguments."""
    parser = commands.add_parser(
        "prune",
        help="remove channels from a bare ONNX file, exactly",
        description="Removes channels from an ONNX file and checks that the result answers as the original does with "
        "those channels zeroed. NAME is a channel group or a parameter of one, as `agfedge inspect` lists them, or a "
        "glob of either.",
    )
    parser.add_argument("model", metavar="MODEL.onnx", help="the file to prune, opset 11 or newer")
    parser.add_argument("-o", "--out", required=True, metavar="OUT.onnx", help="where the pruned model goes")
    parser.add_argument(
        "--score", default="l1", help="l1, l2, lamp, random, or FILE.npz[:NAME] with your own (default l1)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of random scores and of the check's inputs (default 0)")
    add_exceptions(parser)
    parser.add_argument(
        "--only",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME",
        help="groups, or parameters, that alone may shrink",
    )
    parser.add_argument("--plan", metavar="OUT.json", help="where to write what was removed, and why the rest stayed")
    parser.add_argument(
        "--check",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="compare with the masked original first, and write nothing where they differ (default)",
    )
    parser.add_argument(
        "--inexact",
        action="store_true",
        help="cross norms too; the check then only measures the difference",
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    add_allocation(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Runs the command."""
    from agfedge.pruning import PruneRequest, prune_file

    lists = {"exclude": tuple(arguments.exclude), "only": tuple(arguments.only)}
    request = PruneRequest(**{**fields_of(PruneRequest, arguments), **lists, "amount": allocation_of(arguments)})
    result = prune_file(request)
    if arguments.json:
        print_json(_document(request, result))
    else:
        _print(request, result)
    return 0


def _document(request: PruneRequest, result: PruneResult) -> dict[str, object]:
    plan = result.plan
    return {
        "out": request.out,
        "plan": request.plan,
        "model_sha256": plan.model_sha256,
        "before": result.before,
        "after": result.after,
        "check": result.check,
        "budget": result.spent,
        "inexact": request.inexact,
        "groups": [{"name": each.name, "size": each.size, "kept": len(each.keep)} for each in plan.groups],
        "kept_whole": plan.kept_whole,
    }


def _print(request: PruneRequest, result: PruneResult) -> None:
    rows = [
        (name, f"{facts.size_bytes / 1024:,.0f}", f"{facts.macs / 1e6:,.2f}", f"{facts.parameters:,}")
        for name, facts in ((request.model, result.before), (request.out, result.after))
    ]
    print_table(("model", "KiB", "MMACs", "parameters"), rows)
    print_line()
    groups = result.plan.groups
    if _differ(request) and len(groups) <= MOST_BARS:
        print_bars(groups)
        print_line()
    cut = [(group.size - len(group.keep), group.size) for group in groups]
    print_line(
        f"removed {sum(gone for gone, _ in cut):,} of {sum(size for _, size in cut):,} channels, from "
        f"{sum(gone > 0 for gone, _ in cut)} of {len(groups)} groups"
    )
    if result.spent is not None:
        print_line(_spent(result.spent))
    print_line(_checked(request, result))
    if result.plan.kept_whole:
        print_line(f"{len(result.plan.kept_whole)} axes stay whole: `agfedge inspect {request.model}` says why")
    if request.plan is not None:
        print_line(f"plan: {request.plan}")


def _differ(request: PruneRequest) -> bool:
    """Whether groups keep different shares, so that bars say something."""
    return request.amount.budget is not None or request.amount.allocation == "global"


def _spent(spent: Spent) -> str:
    on = "" if spent.device is None else f" on {spent.device}, {spent.precision}"
    share = spent.after / spent.before if spent.before else 0.0
    gone = f"; {len(spent.dropped)} branches went whole" if spent.dropped else ""
    figures = f"{spent.after:,.0f} of {spent.before:,.0f} {spent.unit}{on}"
    return f"{spent.of}: {figures}, {share:.1%} (budget {spent.share:.1%}){gone}"


def _checked(request: PruneRequest, result: PruneResult) -> str:
    report = result.check
    if report is None:
        return "not checked (--no-check)"
    distance = f"{report.max_relative_error:.1e} of the output's scale apart on {report.inputs} inputs"
    return f"inexact: removed and masked lie {distance}" if request.inexact else f"removed equals masked: {distance}"
