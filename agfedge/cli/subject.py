"""The options that name a model and its data, alike for every command that takes them."""

from __future__ import annotations

import argparse

from agfedge.cli.arguments import floats

SUBJECT_OPTIONS = ("model", "weights", "data", "mean", "std")


def add_subject(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    parser.add_argument(
        "--model", required=True, help="package.module:factory or file.py:factory, returning a torch module"
    )
    parser.add_argument("--weights", help=".safetensors, or .pt holding a state dict")
    parser.add_argument(
        "--data", required=True, help="folder of class folders with images, .npz with x and y, or factory"
    )
    parser.add_argument("--mean", type=floats, help="per channel after scaling to [0, 1], such as 0.485,0.456,0.406")
    parser.add_argument("--std", type=floats, help="likewise")
