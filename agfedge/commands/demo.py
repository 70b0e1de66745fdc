"""`agfedge demo`: the whole way on real images, with the commands that a user would type."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from agfedge.base.requests import check_seed
from agfedge.commands import options as o

# A quarter of every layer's channels is about a sixteenth of the multiply-accumulates.
KEEP = "0.25"
EPSILON = "0.01"


@o.documented
def demo(
    *,
    out: Annotated[Path, Parameter(help="Folder for everything that the demo writes.")] = Path("agfedge-demo"),
    seed: o.Seed = 0,
) -> list[list[str]]:
    """Train a small network on handwritten digits, and take it the whole way: export, deploy, profile.

    It types the commands that you would type for a model of your own.

    Returns:
        Those commands, for the command line to type.
    """
    from agfedge.data import load_dataset
    from agfedge.demo.digits import write_digits
    from agfedge.demo.network import train_heavy

    check_seed(seed)
    out.mkdir(parents=True, exist_ok=True)
    sys.stdout.write(f"handwritten digits, 8x8 pixels, as PNG files: {out / 'digits'}\n")
    write_digits(out / "digits", seed)
    weights = out / "heavy.safetensors"
    sys.stdout.write(f"a residual network trained on them, the heavy expert: {weights}\n")
    train_heavy(load_dataset(str(out / "digits"), seed).train, weights, seed=seed)
    return commands_of(out, weights, seed)


def commands_of(out: Path, weights: Path, seed: int) -> list[list[str]]:
    """Returns what a user would type next."""
    data, bundle, device = str(out / "digits"), str(out / "bundle"), str(out / "device")
    model = ["--model", "agfedge.demo.network:digits_net", "--weights", str(weights), "--data", data]
    written = ["--out", str(out / "profile.json"), "--report", str(out / "report.html")]
    return [
        ["export", *model, "--keep", KEEP, "--epsilon", EPSILON, "--seed", str(seed), "--out", bundle],
        ["deploy", bundle, device],
        ["profile", bundle, "--on", device, "--data", str(out / "digits" / "test"), *written],
    ]
