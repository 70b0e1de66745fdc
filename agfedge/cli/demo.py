"""`agfedge demo`: the whole way on real images, with the commands that a user would type."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from agfedge.cli.output import print_line

# A quarter of every layer's channels is about a sixteenth of the multiply-accumulates.
KEEP = "0.25"
EPSILON = "0.01"


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command's arguments."""
    parser = commands.add_parser("demo", help="train a small network on handwritten digits and take it the whole way")
    parser.add_argument(
        "--out",
        default="agfedge-demo",
        help="folder for everything that the demo writes (default agfedge-demo)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of data split, training and export (default 0)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Runs the command."""
    from agfedge.data import load_dataset
    from agfedge.demo.digits import write_digits
    from agfedge.demo.heavy import train_heavy
    from agfedge.export_request import check_seed

    check_seed(arguments.seed)
    out = Path(arguments.out)
    out.mkdir(parents=True, exist_ok=True)
    print_line(f"handwritten digits, 8x8 pixels, as PNG files: {out / 'digits'}")
    write_digits(out / "digits", arguments.seed)
    weights = out / "heavy.safetensors"
    print_line(f"a residual network trained on them, the heavy expert: {weights}")
    train_heavy(load_dataset(str(out / "digits"), arguments.seed).train, weights, seed=arguments.seed)
    for command in commands_of(out, weights, arguments.seed):
        print_line(f"\n$ agfedge {shlex.join(command)}\n")
        code = _agfedge(command)
        if code:
            return code
    return 0


def commands_of(out: Path, weights: Path, seed: int) -> list[list[str]]:
    """Returns what a user would type next."""
    data, bundle, device = str(out / "digits"), str(out / "bundle"), str(out / "device")
    export = [
        "export",
        "--model",
        "agfedge.demo.network:digits_net",
        "--weights",
        str(weights),
        "--data",
        data,
    ]
    export += ["--keep", KEEP, "--epsilon", EPSILON, "--seed", str(seed), "--out", bundle]
    profile = ["profile", bundle, "--on", device, "--data", str(out / "digits" / "test")]
    return [
        export,
        ["deploy", bundle, device],
        [*profile, "--out", str(out / "profile.json"), "--report", str(out / "report.html")],
    ]


def _agfedge(command: list[str]) -> int:
    from agfedge.cli.main import main

    return main(command)
