"""A small export that tests share: data, weights and the bundle that was made of them."""

from __future__ import annotations

import contextlib
import io
import json
from dataclasses import dataclass
from pathlib import Path

from agfedge.subject.origin import Origin

NETS = Path(__file__).with_name("nets.py")


@dataclass(frozen=True)
class Workshop:
    """A folder with data and weights of a small network, and the bundle that was exported from them.

    Attributes:
        folder: holds stripes.npz, weights.pt, printed.json and bundle/; read it, do not write.
        printed: what `agfedge export --json` printed.
    """

    folder: Path
    printed: dict

    @staticmethod
    def open(folder: Path) -> Workshop:
        """Opens what `make_workshop` made."""
        return Workshop(folder, json.loads((folder / "printed.json").read_text()))

    @property
    def bundle(self) -> Path:
        return self.folder / "bundle"

    @property
    def origin(self) -> Origin:
        return Origin(f"{NETS}:Residual", str(self.folder / "stripes.npz"), str(self.folder / "weights.pt"))

    def export(self, out: Path, **options: object) -> list[str]:
        """Arguments of an export to `out`; an option of None is left out."""
        given = {
            "model": f"{NETS}:Residual",
            "weights": self.folder / "weights.pt",
            "data": self.folder / "stripes.npz",
            "epochs": 0,
            "keep": 0.5,
            "epsilon": 0.05,
            "delta": 0.1,
            "out": out,
            **options,
        }
        return ["export", *(f"--{name}={value}" for name, value in given.items() if value is not None)]


def make_workshop(folder: Path) -> None:
    """Writes the data and the weights, and exports."""
    import numpy as np
    import torch

    from agfedge.cli import main
    from nets import Residual, learned, stripes

    x, y = stripes(600)
    parts = {"train": slice(0, 300), "calibration": slice(300, 450), "test": slice(450, 600)}
    arrays = {f"{name}_{part}": each[rows] for part, rows in parts.items() for name, each in (("x", x), ("y", y))}
    np.savez(folder / "stripes.npz", **arrays)
    torch.save(learned(Residual).state_dict(), folder / "weights.pt")
    made = Workshop(folder, {})
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert main([*made.export(made.bundle, epochs=2), "--json"]) == 0
    (folder / "printed.json").write_text(out.getvalue())


def make_digits(folder: Path) -> None:
    """Writes the demo's images and trains their heavy expert."""
    from agfedge.data import load_dataset
    from agfedge.demo.digits import write_digits
    from agfedge.demo.network import train_heavy

    write_digits(folder / "digits")
    train_heavy(load_dataset(str(folder / "digits"), 0).train, folder / "heavy.safetensors", epochs=4)
