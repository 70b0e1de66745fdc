"""What a search tries: amounts of pruning x places to part, and light experts of another origin."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from agfedge.bundles.trunk_choice import AUTO, NONE, auto_cuts, place_of
from agfedge.study.search.request import is_depth
from agfedge_export.trunk.cuts import FEW, common_trunk, cut_at, trunk_cuts
from agfedge_runtime.errors import InputError

if TYPE_CHECKING:
    import onnx

    from agfedge.allocate import AllocationRequest
    from agfedge_export.trunk.cuts import Cut


@dataclass(frozen=True)
class Candidate:
    """One light expert to try.

    Attributes:
        name: of letters, digits, ".", "-" and "_".
        amount: how much stays; None for an expert of another origin.
        foreign: the ONNX file of that one.
        cut: where the experts part, or None.
    """

    name: str
    amount: AllocationRequest | None
    foreign: Path | None
    cut: Cut | None

    @property
    def trunk(self) -> str:
        """The place of the cut in a word, "none" without one."""
        return place_of(self.cut)

    @property
    def options(self) -> str:
        """The amount as a user types it; "" for an expert of another origin."""
        return "" if self.amount is None else options_of(self.amount)


def candidates(
    heavy: onnx.ModelProto,
    amounts: Sequence[AllocationRequest],
    places: Sequence[str],
    lights: Sequence[tuple[Path, onnx.ModelProto]],
) -> list[Candidate]:
    """Lists every pair of an amount and a cut, and each light expert of another origin with the cuts that fit it.

    Args:
        heavy: its core graph.
        amounts: how much stays, one each.
        places: "none", stages, nodes or tensors to cut after, or "auto" for the cuts of `auto_cuts`.
        lights: files of other light experts, and their core graphs.

    Raises:
        SurgeryError: there is no such place; the message names the stages.
        InputError: two light experts have one file name.
    """
    cuts = cuts_of(heavy, places)
    listed = [
        Candidate(_name(_words(amount), cut), amount, None, cut) for amount in dict.fromkeys(amounts) for cut in cuts
    ]
    for path, model in lights:
        shared = {one.heavy.tensors for one in common_trunk(heavy, model, FEW)}
        fitting = [cut for cut in cuts if cut is None or cut.tensors in shared]
        digest = hashlib.sha256(path.read_bytes()).hexdigest()[:8]  # another file by that name is another candidate
        words = f"light-{_plain(path.stem)}-{digest}"
        listed += [Candidate(_name(words, cut), None, path, cut) for cut in fitting or [None]]
    names = [one.name for one in listed]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"two candidates are called {twice}: give light experts different file names")
    return listed


def cuts_of(heavy: onnx.ModelProto, places: Sequence[str]) -> list[Cut | None]:
    """Returns the cuts at these places, each once, in their order; None stands for no trunk."""
    cuts: list[Cut | None] = []
    for place in places:
        if place == AUTO:
            cuts += auto_cuts(trunk_cuts(heavy))
        else:
            cuts.append(None if place == NONE else cut_at(heavy, place))
    return list(dict.fromkeys(cuts))


def options_of(amount: AllocationRequest) -> str:
    """Returns an amount as a user types it."""
    if is_depth(amount):
        return f"--depth {amount.budget:g}"
    words = []
    for name, value in _given(amount):
        option = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{option}" if value else f"--no-{option}")
        else:
            words.append(f"--{option} {value:g}" if isinstance(value, float) else f"--{option} {value}")
    return " ".join(words)


def _words(amount: AllocationRequest) -> str:
    """Returns an amount as a part of a file's name."""
    if is_depth(amount):
        return f"depth{amount.budget:g}"
    words = [name if value is True else f"{name}{value}" for name, value in _given(amount)]
    return _plain("-".join(words))


def _given(amount: AllocationRequest) -> list[tuple[str, object]]:
    """Returns what differs from its default, the amount itself first."""
    given = [(name, value) for name, value in asdict(amount).items() if value is not None]
    changed = [(name, value) for name, value in given if (name, value) != ("align", 1)]
    return sorted(changed, key=lambda pair: pair[0] not in ("keep", "budget"))


def _name(words: str, cut: Cut | None) -> str:
    return f"{words}-{_plain(place_of(cut))}"


def _plain(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "_", text).strip(".") or "_"
