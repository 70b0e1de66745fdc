"""`agfedge compare`: the stress test of channel scores on a model and data of one's own."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from agfedge.cli.arguments import fields_of, floats, integers, names
from agfedge.cli.output import print_json, print_line, print_table
from agfedge.cli.recovery import add_recovery, recovery_of
from agfedge.cli.subject import add_subject

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agfedge.study.compare import Claim, Row


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command's arguments."""
    parser = commands.add_parser(
        "compare",
        help="compare channel scores: accuracy at several widths, with intervals",
        description="Prunes a model by every score, at every width, with every seed, and measures the accuracy of the "
        "light expert: as it is, after batch-norm re-estimation, and after recovery where that is asked for. Every "
        "point is kept in --out: a comparison that was stopped continues, and may be extended by widths, seeds and "
        "scores. Random pruning is always in it.",
    )
    add_subject(parser)
    parser.add_argument("--out", required=True, help="folder of the points, the table, the plot and the JSON")
    parser.add_argument(
        "--score", dest="scores", type=names, default=("agf", "taylor", "l1", "random"), help="such as agf,wanda,l1"
    )
    parser.add_argument(
        "--keep", dest="keeps", type=floats, default=(1.0, 0.5, 0.25, 0.125), help="widths (default 1,0.5,0.25,0.125)"
    )
    parser.add_argument("--seeds", type=integers, default=(0, 1, 2), help="default 0,1,2")
    parser.add_argument("--recover", type=names, default=(), help="scores whose light experts are fine-tuned as well")
    parser.add_argument(
        "--recover-keep", dest="recover_keeps", type=floats, default=(0.25,), help="at these widths (default 0.25)"
    )
    parser.add_argument("--scratch", action="store_true", help="also train the small architecture from random weights")
    add_recovery(parser)
    parser.add_argument(
        "--samples", type=int, default=1024, help="calibration inputs of scores and re-estimation (default 1024)"
    )
    parser.add_argument(
        "--exclude", nargs="+", action="extend", default=[], metavar="NAME", help="groups that stay whole"
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Runs the command."""
    from agfedge.study.compare import CompareRequest, claims_of, compare, json_of, markdown_of, rows_of
    from agfedge.study.compare.plot import write_plots
    from agfedge_runtime.atomic import write_text

    asked = {**fields_of(CompareRequest, arguments), "exclude": tuple(arguments.exclude)}
    request = CompareRequest(**{**asked, "recovery": recovery_of(arguments)})
    points = compare(request)
    rows = rows_of(points)
    claims = claims_of(rows, request.scores[0])
    stem = Path(request.out) / "compare"
    write_text(stem.with_suffix(".json"), json_of(points, rows, claims))
    plots = write_plots(rows, stem)
    write_text(stem.with_suffix(".md"), markdown_of(rows, claims, plots[-1].name))
    if arguments.json:
        print_json({"out": request.out, "rows": rows, "claims": claims})
    else:
        _print(rows, claims, request.scores[0], request.out)
    return 0


def _print(rows: Sequence[Row], claims: Sequence[Claim], score: str, out: str) -> None:
    from agfedge.study.compare import sentence, table_of

    print_table(*table_of(rows))
    print_line()
    for claim in claims:
        print_line(sentence(claim))
    if not claims:
        print_line(f"no interval separates {score} from another score")
    print_line(f"written: {out}/compare.md, .json, .svg, .png")
