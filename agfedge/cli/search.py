"""`agfedge search`: light experts are made and compared as cascades, and the one that is accepted becomes a bundle."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from agfedge.cli.allocation import add_allocations, allocations_of
from agfedge.cli.arguments import floats, names, seconds
from agfedge.cli.exceptions import add_exceptions
from agfedge.cli.export import document_of as document_of_export
from agfedge.cli.export import print_result as print_export
from agfedge.cli.output import print_json, print_line, print_table
from agfedge.cli.recovery import add_recovery, recovery_of
from agfedge.cli.subject import SUBJECT_OPTIONS, add_subject

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agfedge.bundles.assembling import ExportResult
    from agfedge.study.search import SearchRequest, SearchResult


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command's arguments."""
    parser = commands.add_parser(
        "search",
        help="try light experts and shared trunks, and show what each cascade costs",
        description="Makes light experts, of several amounts and with several shared trunks, cheapest first, and "
        "measures what each would cost beside the heavy expert, and how right it would be. What cannot become cheaper "
        "than the best one is not trained. Every point is kept in --out: a search that was stopped continues. The "
        "points are compared on a fifth of the calibration split; --accept certifies a bundle on the rest.",
    )
    add_subject(parser)
    parser.add_argument("--out", required=True, help="folder of the points, the table, the plot and the JSON")
    add_allocations(parser)
    parser.add_argument(
        "--depth",
        dest="depths",
        type=floats,
        metavar="LIST",
        help="shares of the MACs that stay where whole residual branches go, such as 0.33,0.2; where no amount is "
        "given, 0.33 and 0.2 are tried beside two widths if any branch may go",
    )
    parser.add_argument(
        "--share-trunk",
        dest="trunks",
        type=names,
        default=("none", "auto"),
        metavar="STAGES",
        help="where the experts part: none, stages such as layer1, or auto for a few (default none,auto)",
    )
    parser.add_argument(
        "--light",
        dest="lights",
        action="append",
        default=[],
        metavar="FILE.onnx",
        help="a light expert of another origin, to be tried as well; may be repeated",
    )
    parser.add_argument(
        "--score",
        default="agf",
        help="one of agf, fisher, flap, l1, l2, lamp, random, ria, taylor, wanda (default agf)",
    )
    add_recovery(parser)
    add_exceptions(parser)
    _add_search(parser)
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(run=run)


def _add_search(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("search")
    group.add_argument(
        "--costs",
        default="latency",
        metavar="latency|macs|DEVICE|FILE",
        help="what a pass costs: measured on this machine, multiply-accumulates, or predicted for a device "
        "profile such as jetson-orin-nano-8 or by a table of `profile --save-table` (.json) (default latency)",
    )
    group.add_argument(
        "--time",
        dest="seconds",
        type=seconds,
        metavar="DURATION",
        help="begin nothing that would take longer than this in all, such as 90s, 30m or 2h (default: no limit)",
    )
    group.add_argument(
        "--epsilon", type=float, default=0.005, help="accuracy that the cascade may lose (default 0.005)"
    )
    group.add_argument("--delta", type=float, default=0.05, help="probability that it loses more (default 0.05)")
    group.add_argument("--seed", type=int, default=0, help="of everything that is drawn (default 0)")
    group.add_argument("--accept", metavar="NAME|best", help="make the bundle of this point")
    group.add_argument("--bundle", metavar="FOLDER", help="of the accepted point")


def run(arguments: argparse.Namespace) -> int:
    """Runs the command."""
    from agfedge.study.search import Search

    _check(arguments)
    request = _request(arguments)
    search = Search(request)
    settled = arguments.accept is not None and search.is_done(arguments.accept, arguments.bundle)
    result = search.result() if settled else search.run()
    _write(request, result)
    _warn(result.warnings)
    if not arguments.json:
        _print(request, result, arguments.accept)
    accepted = None if arguments.accept is None else search.accept(arguments.accept, arguments.bundle)
    if accepted is not None:
        _warn(accepted.warnings)
    if arguments.json:
        print_json(_document(request, result, accepted))
    elif accepted is not None:
        print_line()
        print_export(accepted)
    return 0


def _check(arguments: argparse.Namespace) -> None:
    from agfedge_runtime.errors import InputError

    processes = os.environ.get("WORLD_SIZE", "1")
    if processes != "1":
        raise InputError(f"agfedge search is one process, this is one of {processes}: start it without torchrun")
    if (arguments.accept is None) != (arguments.bundle is None):
        got, other = ("--accept", "--bundle FOLDER") if arguments.bundle is None else ("--bundle", "--accept NAME")
        raise InputError(f"{got} is one of two options: give {other} as well")


def _request(arguments: argparse.Namespace) -> SearchRequest:
    from agfedge.study.search.request import AMOUNTS, SearchRequest

    as_given = ("out", "trunks", "score", "per_layer", "costs", "seconds", "epsilon", "delta", *SUBJECT_OPTIONS)
    return SearchRequest(
        **{name: getattr(arguments, name) for name in as_given},
        amounts=allocations_of(arguments, AMOUNTS),
        depths=_depths(arguments),
        lights=tuple(arguments.lights),
        recovery=recovery_of(arguments, arguments.seed),
        exclude=tuple(arguments.exclude),
    )


def _depths(arguments: argparse.Namespace) -> tuple[float, ...]:
    from agfedge.study.search.request import DEPTHS

    if arguments.depths is not None:
        return tuple(arguments.depths)
    return DEPTHS if arguments.keep is None and arguments.budget is None else ()


def _write(request: SearchRequest, result: SearchResult) -> None:
    from agfedge.study.search.plot import write_plot
    from agfedge.study.search.report import json_of, markdown_of
    from agfedge_runtime.atomic import write_text

    stem = Path(request.out) / "search"
    told = (result.points, request.epsilon, result.cost_note, result.warnings)
    write_text(stem.with_suffix(".json"), json_of(*told))
    plots = write_plot(result.points, stem)
    write_text(stem.with_suffix(".md"), markdown_of(*told, plots[-1].name))


def _document(request: SearchRequest, result: SearchResult, accepted: ExportResult | None) -> dict[str, object]:
    from agfedge.study.search.report import document_of

    return {
        "out": request.out,
        **document_of(result.points, request.epsilon, result.cost_note, result.warnings),
        "accepted": None if accepted is None else document_of_export(accepted),
    }


def _print(request: SearchRequest, result: SearchResult, accepts: str | None) -> None:
    from agfedge.study.search.front import best
    from agfedge.study.search.report import grounds_of, reasons_of, table_of, verdict_of

    print_table(*table_of(result.points, reasons=False))
    print_line()
    told = [*reasons_of(result.points), verdict_of(result.points, request.epsilon), grounds_of(result.points)]
    for text in filter(None, told):
        print_line(text)
    print_line(f"costs: {result.cost_note}")
    print_line(f"written: {request.out}/search.md, .json, .svg, .png")
    if accepts is None and best(result.points, request.epsilon) is not None:
        print_line("the same command with --accept best (or another point) and --bundle FOLDER makes its bundle")


def _warn(warnings: Iterable[str]) -> None:
    for warning in warnings:
        sys.stderr.write(f"agfedge: WARNING: {warning}\n")
