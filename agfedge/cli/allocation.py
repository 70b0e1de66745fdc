"""The options of an allocation, alike for every command that plans."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from agfedge.cli.arguments import floats

if TYPE_CHECKING:
    from agfedge.allocate import AllocationRequest


def add_allocation(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    group = parser.add_argument_group("how much stays")
    group.add_argument("--keep", type=float, help="share of the channels that stays (default 0.5)")
    group.add_argument(
        "--budget", type=float, metavar="SHARE", help="instead of --keep: share of what the model costs, such as 0.3"
    )
    _add_parts(group)


def add_allocations(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments, of which several amounts are tried."""
    group = parser.add_argument_group("how much stays, each amount of its own")
    group.add_argument(
        "--keep",
        type=_shares,
        metavar="SHARES",
        help="shares of the channels that stay, such as 0.5,0.25 (default 0.5,0.35,0.25 without --budget; none for no "
        "pruning, beside --light)",
    )
    group.add_argument(
        "--budget", type=floats, metavar="SHARES", help="as well: shares of what the model costs, such as 0.3,0.15"
    )
    _add_parts(group)


def _shares(text: str) -> tuple[float, ...]:
    return () if text == "none" else floats(text)


def _add_parts(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--of",
        choices=("width", "macs", "parameters", "latency"),
        help="what the budget counts (default width, or latency with --target)",
    )
    group.add_argument(
        "--target",
        metavar="DEVICE",
        help="device profile that predicts the latency, such as jetson-orin-nano-8, jetson-orin-nano-8:super, generic, "
        "a TOML file, or a table of `profile --save-table` (.json)",
    )
    group.add_argument(
        "--precision", choices=("fp16", "int8"), help="of the predicted latency (default fp16, or a table's)"
    )
    group.add_argument(
        "--allocation",
        choices=("uniform", "global"),
        help="the same share of every group, or groups compete by normalised scores (default uniform; global for a "
        "budget of latency)",
    )
    group.add_argument(
        "--floor", type=float, metavar="SHARE", help="least share that any group keeps under a budget (default 0.1)"
    )
    group.add_argument(
        "--drop-branches",
        action=argparse.BooleanOptionalAction,
        help="let residual branches go whole (default for a budget of latency where groups compete)",
    )
    group.add_argument(
        "--align", type=int, default=1, metavar="N", help="round what stays to multiples of N, such as 8 (default 1)"
    )


def allocation_of(arguments: argparse.Namespace) -> AllocationRequest:
    """Returns what was given."""
    return _request(vars(arguments))


def allocations_of(arguments: argparse.Namespace, usual: Sequence[AllocationRequest]) -> tuple[AllocationRequest, ...]:
    """Returns an allocation for each width and for each budget that was given, the widths first.

    What is part of a budget alone goes to the budgets where there are any, so that both may be asked for at once.

    Args:
        arguments: that were parsed.
        usual: the widths to take where no amount was given, nor `depths`.
    """
    given = vars(arguments)
    keeps, budgets = given["keep"], given["budget"] or ()
    if keeps is None:
        keeps = () if budgets or given["depths"] else tuple(each.keep for each in usual)
    rest = {**given, **dict.fromkeys(_OF_BUDGETS)} if budgets else given
    if budgets and given["allocation"] != "global":
        rest = {**rest, "floor": None}
    return (
        *(_request({**rest, "keep": keep, "budget": None}) for keep in keeps),
        *(_request({**given, "keep": None, "budget": share}) for share in budgets),
    )


# What means nothing to a width; neither does --floor, unless groups compete.
_OF_BUDGETS = ("of", "target", "precision", "drop_branches")


def _request(given: Mapping[str, Any]) -> AllocationRequest:
    from agfedge.allocate import AllocationRequest

    return AllocationRequest(**{each.name: given[each.name] for each in dataclasses.fields(AllocationRequest)})
