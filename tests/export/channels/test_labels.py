"""Atoms are merged, pinned and stand for each other; fields follow their tensors through every movement."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agfedge_export.channels.labels import Atoms, Field, Pin
from agfedge_export.channels.rules.movement import aligned_blocks, moved, reshaped

WHY = Pin("t", 0, "node", "a reason")
OTHER = Pin("t", 0, "node", "another reason")


def test_atoms_are_numbered_through_all_producers() -> None:
    atoms = Atoms()
    np.testing.assert_array_equal(atoms.new(3, "one"), [0, 1, 2])
    np.testing.assert_array_equal(atoms.new(2, "two"), [3, 4])
    assert len(atoms) == 5
    assert [atoms.space_names[space] for space in atoms.space] == ["one"] * 3 + ["two"] * 2


def test_a_class_is_represented_by_its_first_atom() -> None:
    atoms = Atoms()
    left, right = atoms.new(2, "left"), atoms.new(2, "right")
    atoms.union(right, left)
    np.testing.assert_array_equal(atoms.roots(), [0, 1, 0, 1])


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=20))
@settings(derandomize=True, deadline=None)
def test_classes_are_those_of_the_pairs_whatever_their_order(pairs: list[tuple[int, int]]) -> None:
    def classes(order: list[tuple[int, int]]) -> list[int]:
        atoms = Atoms()
        atoms.new(10, "all")
        for left, right in order:
            atoms.union(np.array([left]), np.array([right]))
        return atoms.roots().tolist()

    expected = list(range(10))
    for _ in range(10):
        for left, right in pairs:
            expected[left] = expected[right] = min(expected[left], expected[right])
    assert classes(pairs) == classes(pairs[::-1]) == expected


def test_a_pin_holds_for_the_whole_class_and_the_first_reason_stands() -> None:
    atoms = Atoms()
    left, right = atoms.new(1, "left"), atoms.new(1, "right")
    atoms.pin([1], WHY)
    atoms.union(left, right)
    atoms.pin([0], OTHER)
    assert atoms.pin_of(0) == atoms.pin_of(1) == WHY


def test_a_composite_is_pinned_with_any_of_its_parts() -> None:
    atoms = Atoms()
    parts = atoms.new(4, "dimensions")
    (head, other) = atoms.composite(parts.reshape(2, 2), "heads")
    atoms.pin([2], WHY)
    atoms.settle()
    assert atoms.pin_of(int(head)) is None
    assert atoms.pin_of(int(other)) == WHY


def test_a_pinned_row_keeps_its_parts_free_unless_they_are_one() -> None:
    atoms = Atoms()
    parts = atoms.new(4, "dimensions")
    (head, other) = atoms.composite(parts.reshape(2, 2), "heads")
    atoms.union(parts[2:3], parts[3:])
    atoms.pin([int(head), int(other)], WHY)
    atoms.settle()
    assert [atoms.pin_of(int(part)) for part in parts] == [None, None, WHY, WHY]


def test_pins_travel_through_composites_of_composites() -> None:
    atoms = Atoms()
    parts = atoms.new(2, "dimensions")
    inner = atoms.composite(parts.reshape(2, 1), "rows of one")
    outer = atoms.composite(inner.reshape(1, 2), "both")
    atoms.pin([int(parts[1])], WHY)
    atoms.settle()
    assert atoms.pin_of(int(outer[0])) == WHY
    assert atoms.pin_of(int(parts[0])) is None


def test_merged_composites_stand_for_the_rows_of_both() -> None:
    atoms = Atoms()
    queries, values = atoms.new(2, "queries"), atoms.new(2, "values")
    first = atoms.composite(queries.reshape(1, 2), "row")
    second = atoms.composite(values.reshape(1, 2), "row")
    assert atoms.parts(int(queries[0])) == []
    atoms.union(first, second)
    rows = atoms.parts(int(second[0]))
    assert [row.tolist() for row in rows] == [[0, 1], [2, 3]]


def test_a_field_along_one_axis_costs_its_channels_alone() -> None:
    labels = Field.along(1, 4, np.arange(64))
    assert labels.atoms.shape == labels.dead.shape == (1, 64, 1, 1)
    assert labels.axes == (1,)
    assert labels.spans(1)
    assert not labels.spans(2)


def test_rows_of_a_field_are_the_slices_along_an_axis() -> None:
    labels = Field(np.arange(6).reshape(1, 2, 3), np.zeros((1, 2, 3)), 2)
    np.testing.assert_array_equal(labels.rows(1), [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(labels.rows(2), [[0, 3], [1, 4], [2, 5]])


def test_a_field_broadcasts_as_its_tensor_does() -> None:
    labels = Field(np.arange(6).reshape(2, 3), np.zeros((2, 3)), 1).aligned(4)
    assert labels.atoms.shape == (1, 1, 2, 3)
    assert (labels.axes, labels.column) == ((2, 3), 3)


def test_only_zero_is_sure_to_stay_what_it_is() -> None:
    labels = Field.along(0, 1, np.arange(3), np.array([0.0, 0.5, np.nan]))
    np.testing.assert_array_equal(labels.with_zero_kept().dead, [0, np.nan, np.nan])


def test_axes_along_which_labels_agree_shrink() -> None:
    labels = moved(Field.along(0, 2, np.arange(3)), lambda array: np.broadcast_to(array, (3, 4)))
    assert labels.atoms.shape == (3, 1)


def test_the_column_axis_is_followed() -> None:
    labels = Field(np.arange(8).reshape(2, 4), np.zeros((2, 4)), 1)
    assert moved(labels, lambda array: array.T).column == 0
    assert moved(labels, lambda array: array.reshape(2, 2, 2)).column is None  # it is no single axis any more


@pytest.mark.parametrize(
    ("before", "after", "blocks"),
    [
        ((2, 8, 4, 4), (2, 128), [((0,), (0,)), ((1, 2, 3), (1,))]),
        ((2, 8, 4, 4), (2, 2, 4, 4, 4), [((0,), (0,)), ((1,), (1, 2)), ((2,), (3,)), ((3,), (4,))]),
        ((6, 4), (4, 6), [((0, 1), (0, 1))]),
        ((1, 8), (8,), [((0, 1), (0,))]),
        ((8,), (8, 1), [((0,), (0,)), ((), (1,))]),
    ],
)
def test_shapes_are_cut_into_the_smallest_blocks_that_agree(
    before: tuple[int, ...], after: tuple[int, ...], blocks: list[tuple[tuple[int, ...], tuple[int, ...]]]
) -> None:
    assert [(tuple(old), tuple(new)) for old, new in aligned_blocks(before, after)] == blocks


FACTORS = st.lists(st.sampled_from([1, 2, 3]), min_size=1, max_size=6)


@st.composite
def reshapes(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Draws two shapes of as many elements: the same factors, grouped differently."""
    factors = draw(FACTORS)

    def grouped() -> tuple[int, ...]:
        cuts = sorted(draw(st.sets(st.integers(1, len(factors) - 1)))) if len(factors) > 1 else []
        return tuple(prod(factors[start:end]) for start, end in zip([0, *cuts], [*cuts, len(factors)], strict=True))

    return grouped(), grouped()


@given(reshapes(), st.data())
@settings(derandomize=True, deadline=None)
def test_a_reshaped_field_says_what_reshaping_the_labels_of_every_element_says(
    shapes: tuple[tuple[int, ...], tuple[int, ...]], data: st.DataObject
) -> None:
    before, after = shapes
    axis = data.draw(st.integers(0, len(before) - 1))
    labels = Field.along(axis, len(before), np.arange(before[axis]), np.arange(before[axis]) / 2)
    result = reshaped(labels, before, after)
    np.testing.assert_array_equal(
        np.broadcast_to(result.atoms, after), np.broadcast_to(labels.atoms, before).reshape(after)
    )
    np.testing.assert_array_equal(result.dead, result.atoms / 2)
