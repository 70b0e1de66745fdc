"""What was measured: one file a point, written whole, so that a stopped comparison continues where it was."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

from agfedge_runtime.atomic import write_text
from agfedge_runtime.errors import InputError

VERSION = 1

# Pseudo-scores: the unpruned model, and the small architecture trained from random weights.
HEAVY, SCRATCH = "heavy", "scratch"


@dataclass(frozen=True)
class Point:
    """One light expert.

    Attributes:
        score: name of the score that chose its channels.
        keep: share of every group's channels that stayed.
        seed: of calibration samples, random scores and training.
        samples: test images behind each accuracy.
        one_shot: accuracy on the held-out inputs right after surgery, in [0, 1]; None where it was not measured.
        reestimated: after batch normalisation saw the calibration inputs.
        recovered: after fine-tuning.
        macs: of the pruned graph, multiply-accumulates.
        parameters: likewise.
        training: "slimmed" or "masked" and the like, for what was fine-tuned; empty without.
        epochs: best epoch of the fine-tuning.
    """

    score: str
    keep: float
    seed: int
    samples: int
    macs: int
    parameters: int
    one_shot: float | None = None
    reestimated: float | None = None
    recovered: float | None = None
    training: str = ""
    epochs: int = 0

    @property
    def key(self) -> str:
        """Names the point's file."""
        return f"{self.score}-{self.keep:g}-{self.seed}"


class Store:
    """The points of one comparison, in a folder."""

    def __init__(self, folder: Path, identity: dict[str, object]) -> None:
        """Opens the folder, or makes it.

        Args:
            folder: of the comparison.
            identity: what every point was measured with; points of another comparison are not mixed in.

        Raises:
            InputError: the folder holds another comparison's points.
        """
        self._points = folder / "points"
        self._points.mkdir(parents=True, exist_ok=True)
        path = folder / "identity.json"
        text = json.dumps({"version": VERSION, **identity}, indent=1, sort_keys=True) + "\n"
        if not path.exists():
            write_text(path, text)
        elif (earlier := path.read_text(encoding="utf-8")) != text:
            raise InputError(
                f"{folder} holds points of another comparison ({_difference(earlier, text)}): choose another --out, "
                "or remove it"
            )

    def get(self, key: str) -> Point | None:
        """Returns a point that was measured already.

        Raises:
            InputError: its file is broken.
        """
        path = self._points / f"{key}.json"
        return _read(path) if path.exists() else None

    def put(self, point: Point) -> None:
        """Writes a point, whole."""
        write_text(self._points / f"{point.key}.json", json.dumps(asdict(point), indent=1) + "\n")

    def all(self) -> list[Point]:
        """Returns every point, in the order of their names.

        Raises:
            InputError: a file is broken.
        """
        return [_read(path) for path in sorted(self._points.glob("*.json"))]


def _read(path: Path) -> Point:
    try:
        point = Point(**json.loads(path.read_text(encoding="utf-8")))
        shares = [each for each in (point.one_shot, point.reestimated, point.recovered) if each is not None]
        if not all(math.isfinite(each) and 0 <= each <= 1 for each in shares) or point.samples < 1:
            raise ValueError("an accuracy is no share")
    except (ValueError, TypeError) as error:
        raise InputError(f"{path} is no point of a comparison ({error}): remove it to measure it again") from error
    return point


def _difference(earlier: str, text: str) -> str:
    try:
        old, new = json.loads(earlier), json.loads(text)
        key = next(key for key in sorted({*old, *new}) if old.get(key) != new.get(key))
    except (ValueError, AttributeError, StopIteration):
        return "its identity.json cannot be read"
    return f"{key} was {old.get(key)}, now {new.get(key)}"
