"""`agfedge score`: the utility of every channel, as a file that `agfedge prune` reads."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from agfedge.cli.arguments import fields_of, names
from agfedge.cli.output import print_json, print_line, print_table
from agfedge.cli.subject import add_subject

if TYPE_CHECKING:
    from agfedge.scores.agreement import GroupUtility
    from agfedge.scoring import ScoreRequest, ScoreResult


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command's arguments."""
    parser = commands.add_parser(
        "score",
        help="score every channel of a model, by one measure or several",
        description="Scores the channels of a trained model on its training data, and writes them as arrays named "
        "after the channel groups. With --onnx, the graph that they belong to is written too: `agfedge prune OUT.onnx "
        "--score scores.npz` then prunes it by them, and by scores.npz:agf where the file holds several. Runs under "
        "torchrun, whose processes share the data.",
    )
    add_subject(parser)
    parser.add_argument(
        "--score",
        dest="scores",
        type=names,
        default=("agf",),
        help="some of agf, fisher, flap, l1, l2, lamp, random, ria, taylor, wanda, with commas (default agf)",
    )
    parser.add_argument("--out", required=True, metavar="SCORES.npz", help="where the scores go")
    parser.add_argument("--onnx", metavar="OUT.onnx", help="where the graph goes")
    parser.add_argument("--samples", type=int, default=1024, help="training inputs that are looked at (default 1024)")
    parser.add_argument(
        "--batch-size", type=int, help="inputs at a time, which bounds the memory (default 64, or all where fewer)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of everything that is drawn (default 0)")
    parser.add_argument("--json", action="store_true", help="print a summary as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Runs the command."""
    from agfedge.distributed import team
    from agfedge.scoring import ScoreRequest, score_file

    request = ScoreRequest(**fields_of(ScoreRequest, arguments))
    with team() as together:
        result = score_file(request, together)
        leads = together.leads
    if leads and arguments.json:
        print_json(_document(request, result))
    elif leads:
        _print(request, result)
    return 0


def _utilities(result: ScoreResult) -> dict[str, dict[str, GroupUtility]]:
    from agfedge.scores.agreement import utility_of

    return {
        name: {group: utility_of(values) for group, values in scores.items()} for name, scores in result.scores.items()
    }


def _document(request: ScoreRequest, result: ScoreResult) -> dict[str, object]:
    from agfedge.scores.agreement import agreements

    utilities = _utilities(result)
    return {
        "out": request.out,
        "onnx": request.onnx,
        "model_sha256": result.groups.model_sha256,
        "samples": result.samples,
        "seed": request.seed,
        "groups": [
            {
                "name": group.name,
                "size": group.size,
                "scores": {name: utilities[name][group.name] for name in result.scores},
            }
            for group in result.groups.groups
        ],
        "agreements": agreements(result.scores, result.groups),
    }


def _print(request: ScoreRequest, result: ScoreResult) -> None:
    from agfedge.scores.agreement import agreements

    _print_groups(result)
    pairs = agreements(result.scores, result.groups)
    if pairs:
        print_line()
        print_table(
            ("each keeps half of the channels", "kept by both", "least", "in group"),
            [
                (f"{each.first}, {each.second}", f"{each.shared:.0%}", f"{each.lowest_shared:.0%}", each.lowest_group)
                for each in pairs
            ],
        )
    print_line()
    names = list(result.scores)
    print_line(f"scores: {request.out} ({', '.join(names)}; {result.samples:,} inputs, seed {request.seed})")
    if request.onnx is not None:
        chosen = request.out if len(names) == 1 else f"{request.out}:{names[0]}"
        print_line(f"graph: {request.onnx}; `agfedge prune {request.onnx} --score {chosen} -o LIGHT.onnx` prunes it")


def _print_groups(result: ScoreResult) -> None:
    """Prints how far each score tells the channels of a group apart."""
    utilities = _utilities(result)
    if len(result.scores) == 1:
        (found,) = utilities.values()
        headers: tuple[str, ...] = ("group", "channels", "lowest", "highest", "better half holds")
        rows = [
            (group.name, group.size, f"{each.lowest:.3g}", f"{each.highest:.3g}", _percent(each.upper_half))
            for group, each in ((group, found[group.name]) for group in result.groups.groups)
        ]
        print_table(headers, rows)
        return
    print_table(
        ("better half holds", "channels", *result.scores),
        [
            (group.name, group.size, *(_percent(utilities[name][group.name].upper_half) for name in result.scores))
            for group in result.groups.groups
        ],
    )


def _percent(share: float) -> str:
    return "-" if share != share else f"{share:.0%}"
