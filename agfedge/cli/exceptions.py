"""The options that make an exception of some groups, alike for every command that prunes."""

from __future__ import annotations

import argparse


def add_exceptions(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
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
