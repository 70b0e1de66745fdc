"""Labels: which elements of a tensor belong to which channel.

An **atom** is the smallest thing that can be removed: one channel of one producer. Atoms that must live and die
together (both sides of a residual sum) are merged; a merged class is a **unit**. A unit with a pin is kept whole.

A **field** lays atoms over a tensor. Its array broadcasts against the tensor's shape: size 1 on every axis on which
the label does not depend, so that the channels of a `(1, 64, 112, 112)` feature map cost 64 numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray


@dataclass(frozen=True)
class Pin:
    """Why an atom must stay: where it was found and what stands in the way."""

    tensor: str
    axis: int
    node: str
    reason: str


class Atoms:
    """Disjoint sets of atoms, with pins and the producer ("space") that each atom was born in."""

    def __init__(self) -> None:
        self._parent: list[int] = []
        self._pin: dict[int, Pin] = {}
        self.space: list[int] = []
        self.space_names: list[str] = []

    def __len__(self) -> int:
        return len(self._parent)

    def new(self, count: int, name: str) -> NDArray[np.int64]:
        """Makes `count` fresh atoms, the channels of one producer called `name`; returns their ids, int64 (count,)."""
        first = len(self._parent)
        self._parent.extend(range(first, first + count))
        self.space.extend([len(self.space_names)] * count)
        self.space_names.append(name)
        return np.arange(first, first + count, dtype=np.int64)

    def find(self, atom: int) -> int:
        """Returns the representative of the atom's class."""
        parent = self._parent
        while parent[atom] != atom:
            parent[atom] = parent[parent[atom]]
            atom = parent[atom]
        return atom

    def union(self, left: NDArray[np.int64], right: NDArray[np.int64]) -> None:
        """Merges the classes of two equally long arrays of atoms, element by element."""
        for a, b in zip(left.ravel().tolist(), right.ravel().tolist(), strict=True):
            root_a, root_b = self.find(a), self.find(b)
            if root_a == root_b:
                continue
            low, high = min(root_a, root_b), max(root_a, root_b)
            self._parent[high] = low
            pin = self._pin.pop(high, None)
            if pin is not None:
                self._pin.setdefault(low, pin)

    def pin(self, atoms: Iterable[int], pin: Pin) -> None:
        """Keeps the classes of these atoms whole; the first reason given stands."""
        for atom in atoms:
            self._pin.setdefault(self.find(atom), pin)

    def pin_of(self, atom: int) -> Pin | None:
        """Returns why the atom's class is kept whole, or None when it may go."""
        return self._pin.get(self.find(atom))

    def roots(self) -> NDArray[np.int64]:
        """Returns the representative of every atom, int64 (len(self),)."""
        return np.array([self.find(atom) for atom in range(len(self._parent))], dtype=np.int64)


@dataclass(frozen=True)
class Field:
    """Atoms laid over a tensor.

    Attributes:
        atoms: int64, broadcastable to the tensor's shape.
        dead: float64, same shape: what the elements of a channel hold once its producing parameters are zero;
            NaN when that depends on the input.
    """

    atoms: NDArray[np.int64]
    dead: NDArray[np.float64]

    @staticmethod
    def along(axis: int, rank: int, atoms: NDArray[np.int64], dead: NDArray[np.float64] | float = 0.0) -> Field:
        """Builds the field of a tensor of `rank` axes whose label depends on one axis alone."""
        shape = [1] * rank
        shape[axis] = len(atoms)
        values = np.broadcast_to(np.asarray(dead, dtype=np.float64), (len(atoms),))
        return Field(atoms.reshape(shape), values.reshape(shape))

    @property
    def axes(self) -> tuple[int, ...]:
        """The axes on which the label depends; a field over one element spans none."""
        return tuple(axis for axis, size in enumerate(self.atoms.shape) if size > 1)

    def spans(self, axis: int) -> bool:
        """Whether the label depends on `axis`."""
        return bool(self.atoms.shape[axis] > 1)
