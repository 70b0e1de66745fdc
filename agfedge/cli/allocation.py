"""The options of an allocation, alike for every command that plans."""

from __future__ import annotations

import argparse
import dataclasses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agfedge.allocate import AllocationRequest


def add_allocation(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    group = parser.add_argument_group("how much stays")
    group.add_argument("--keep", type=float, help="share of the channels that stays (default 0.5)")
    group.add_argument(
        "--budget", type=float, metavar="SHARE", help="instead of --keep: share of what the model costs, such as 0.3"
    )
    group.add_argument(
        "--of",
        choices=("width", "macs", "parameters", "latency"),
        help="what the budget counts (default width, or latency with --target)",
    )
    group.add_argument(
        "--target",
        metavar="DEVICE",
        help="device profile that predicts the latency, such as jetson-orin-nano-8, jetson-orin-nano-8:super, generic, "
        "or a TOML file",
    )
    group.add_argument("--precision", choices=("fp16", "int8"), help="of the predicted latency (default fp16)")
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
    from agfedge.allocate import AllocationRequest

    names = [each.name for each in dataclasses.fields(AllocationRequest)]
    return AllocationRequest(**{name: getattr(arguments, name) for name in names})
