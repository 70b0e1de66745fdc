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


class DisjointSets:
    """Sets of numbers from 0 on that are merged; the smallest of a set represents it."""

    def __init__(self, count: int = 0) -> None:
        self._parent = list(range(count))

    def __len__(self) -> int:
        return len(self._parent)

    def grow(self, count: int) -> None:
        """Adds sets of one number each."""
        self._parent.extend(range(len(self), len(self) + count))

    def find(self, number: int) -> int:
        """Returns the representative of a number's set."""
        parent = self._parent
        while parent[number] != number:
            parent[number] = parent[parent[number]]
            number = parent[number]
        return number

    def merge(self, left: int, right: int) -> tuple[int, int]:
        """Merges two numbers' sets; returns the representative that stays, and the one that was: equal if one set."""
        low, high = sorted((self.find(left), self.find(right)))
        self._parent[high] = low
        return low, high

    def roots(self) -> NDArray[np.int64]:
        """Returns the representative of every number, int64 (len(self),)."""
        return np.array([self.find(number) for number in range(len(self))], dtype=np.int64)


class Atoms(DisjointSets):
    """Disjoint sets of atoms, with pins and the producer ("space") that each atom was born in.

    A **composite** atom stands for a whole row of others: an attention head for its dimensions. It goes when, and only
    when, all of its parts go.
    """

    def __init__(self) -> None:
        super().__init__()
        self._pin: dict[int, Pin] = {}
        self._parts: dict[int, list[NDArray[np.int64]]] = {}
        self.space: list[int] = []
        self.space_names: list[str] = []
        self.passive: list[bool] = []

    def new(self, count: int, name: str, *, passive: bool = False) -> NDArray[np.int64]:
        """Makes fresh atoms, the channels of one producer.

        Args:
            count: how many.
            name: of the producer.
            passive: channels that only follow others, such as the rows of a constant: alone they never go.

        Returns:
            Their ids, int64 (count,).
        """
        first = len(self)
        self.grow(count)
        self.space.extend([len(self.space_names)] * count)
        self.space_names.append(name)
        self.passive.extend([passive] * count)
        return np.arange(first, first + count, dtype=np.int64)

    def composite(self, rows: NDArray[np.int64], name: str) -> NDArray[np.int64]:
        """Makes one composite atom for each row of `rows` (R, n); returns their ids, int64 (R,)."""
        made = self.new(len(rows), name, passive=True)
        for atom, row in zip(made.tolist(), rows, strict=True):
            self._parts[atom] = [row]
        return made

    def parts(self, atom: int) -> list[NDArray[np.int64]]:
        """Returns the rows that go together with the atom's class; empty when none of it is composite."""
        return self._parts.get(self.find(atom), [])

    def union(self, left: NDArray[np.int64], right: NDArray[np.int64]) -> None:
        """Merges the classes of two equally long arrays of atoms, element by element."""
        for a, b in zip(left.ravel().tolist(), right.ravel().tolist(), strict=True):
            low, high = self.merge(a, b)
            if low == high:
                continue
            pin, parts = self._pin.pop(high, None), self._parts.pop(high, None)
            if pin is not None:
                self._pin.setdefault(low, pin)
            if parts is not None:
                self._parts.setdefault(low, []).extend(parts)

    def pin(self, atoms: Iterable[int], pin: Pin) -> None:
        """Keeps the classes of these atoms whole; the first reason given stands."""
        for atom in atoms:
            self._pin.setdefault(self.find(atom), pin)

    def pin_of(self, atom: int) -> Pin | None:
        """Returns why the atom's class is kept whole, or None when it may go."""
        return self._pin.get(self.find(atom))

    def settle(self) -> None:
        """Carries pins between composites and their parts until nothing changes.

        A row with a pinned part never goes as a whole; a row of one class that must not go as a whole pins that class.
        """
        changed = True
        while changed:
            changed = False
            for root, rows in list(self._parts.items()):
                reasons = (self.pin_of(int(atom)) for row in rows for atom in row)
                reason = self._pin.get(root) or next((each for each in reasons if each is not None), None)
                if reason is None:
                    continue
                single = [row[0] for row in rows if len({self.find(int(atom)) for atom in row}) == 1]
                for atom in (root, *single):
                    if self.pin_of(int(atom)) is None:
                        self.pin([int(atom)], reason)
                        changed = True


@dataclass(frozen=True, eq=False)
class Field:
    """Atoms laid over a tensor.

    Attributes:
        atoms: int64, broadcastable to the tensor's shape.
        dead: float64, same shape: what the elements of a channel hold once its producing parameters are zero;
            NaN when that depends on the input.
        column: where the label spans several axes, the one along which each row may lose entries of its own choice
            (as many as every other row); the others lose whole slices.
    """

    atoms: NDArray[np.int64]
    dead: NDArray[np.float64]
    column: int | None = None

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

    @property
    def columns(self) -> int:
        """The axis of the columns: along which each row may lose entries of its own choice; else the last one."""
        return self.axes[-1] if self.column is None else self.column

    def spans(self, axis: int) -> bool:
        """Whether the label depends on `axis`."""
        return bool(self.atoms.shape[axis] > 1)

    def rows(self, axis: int) -> NDArray[np.int64]:
        """Returns the atoms of each index along `axis`, (size of the axis, everything else)."""
        return np.moveaxis(self.atoms, axis, 0).reshape(self.atoms.shape[axis], -1)

    def aligned(self, rank: int) -> Field:
        """Returns the field of the tensor seen with more axes, padded in front as broadcasting does."""
        extra = rank - self.atoms.ndim
        shape = (1,) * extra + self.atoms.shape
        column = None if self.column is None else self.column + extra
        return Field(self.atoms.reshape(shape), self.dead.reshape(shape), column)

    def with_dead(self, dead: NDArray[np.float64] | float) -> Field:
        """Returns the same labels with other dead values: of the same shape, or one for all."""
        return Field(self.atoms, np.broadcast_to(np.asarray(dead, dtype=np.float64), self.atoms.shape), self.column)

    def taken(self, indices: NDArray[np.int64], axis: int) -> Field:
        """Returns the labels at some indices along an axis."""
        return Field(self.atoms.take(indices, axis), self.dead.take(indices, axis), self.column)

    def with_zero_kept(self) -> Field:
        """Returns the same labels where zero stays zero and any other dead value becomes unknown."""
        return self.with_dead(np.where(self.dead == 0, 0.0, np.nan))


def spanning(fields: Iterable[Field], axis: int) -> Field | None:
    """Returns the first field that depends on an axis, or None."""
    return next((labels for labels in fields if labels.spans(axis)), None)
