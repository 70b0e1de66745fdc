"""The graphs of the families, each exported and pruned once in a session."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import onnx

import agfedge_export as ax
from families import Family
from nets import random_plan
from shared import Shared


@dataclass(frozen=True)
class Case:
    """A family's graph before and after half of every group was removed at random.

    Attributes:
        model: the very object that was analysed, pruned and masked.
        digest: of `model` before all that.
        plan: what was removed.
        masked, pruned: what `mask` and `prune` gave.
    """

    model: onnx.ModelProto
    digest: str
    plan: ax.Plan
    masked: onnx.ModelProto
    pruned: onnx.ModelProto


class Gallery:
    """Keeps the latest case in memory, and what was pruned as files for all workers: together the graphs are 2 GB."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._latest: tuple[Family, Case] | None = None

    def case(self, family: Family) -> Case:
        if self._latest is None or self._latest[0] != family:
            self._latest = None  # frees the memory before more is asked for
            self._latest = family, _made(family)
        return self._latest[1]

    def pruned(self, family: Family) -> Path:
        return self._folder(family, "pruned", lambda: self.case(family).pruned)

    def original(self, family: Family) -> Path:
        """Makes the graph once more if another came after it: only a failure asks for it."""
        return self._folder(family, "original", lambda: self.case(family).model)

    def _folder(self, family: Family, what: str, model: Callable[[], onnx.ModelProto]) -> Path:
        name = f"{what}-{hashlib.sha256(repr(family).encode()).hexdigest()[:16]}"
        return self._shared.folder(name, lambda folder: onnx.save(model(), folder / "model.onnx")) / "model.onnx"


def _made(family: Family) -> Case:
    model = family.graph()
    before = digest(model)
    plan = random_plan(ax.analyse(model))
    return Case(model, before, plan, ax.mask(model, plan), ax.prune(model, plan).model)


def digest(model: onnx.ModelProto) -> str:
    """Changes with every bit of the model."""
    return hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest()
