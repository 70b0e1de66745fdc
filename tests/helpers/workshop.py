"""A small export that tests share: data, weights and the bundle that was made of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from agfedge.subject.origin import Origin

NETS = Path(__file__).with_name("nets.py")


@dataclass(frozen=True)
class Workshop:
    """A folder with data and weights of a small network, and the bundle that was exported from them.

    Attributes:
        folder: holds stripes.npz, weights.pt and bundle/; read it, do not write.
        printed: what `agfedge export --json` printed.
    """

    folder: Path
    printed: dict

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
