"""`--score FILE.npz`: scores of one's own."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from agfedge.scores import Scores
from agfedge.scores.files import read_scores, split_spec, write_scores
from agfedge_export import analyse
from agfedge_runtime.errors import InputError
from pruning import build

# Groups: w1 (8 channels, tied with w3) and w2 (6).
MODEL = build(
    "a = Conv(x, w1)  b = Conv(a, w2, b2)  q = Relu(b)  c = Conv(q, w3)  s = Add(c, a)  y = Conv(s, w4)",
    {"w1": (8, 3, 1, 1), "w2": (6, 8, 1, 1), "b2": (6,), "w3": (8, 6, 1, 1), "w4": (4, 8, 1, 1)},
)
ONE, TWO = np.arange(8.0), np.arange(6.0)

Read = Callable[..., Scores]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def reader(wanted: tuple[str, ...] = ("w1", "w2"), **arrays: object) -> Scores:
        np.savez(tmp_path / "own.npz", **arrays)
        return read_scores(tmp_path / "own.npz", analyse(MODEL), MODEL, wanted)

    return reader


def test_a_groups_name_gives_its_scores(read: Read) -> None:
    found = read(w1=ONE, w2=TWO)
    np.testing.assert_array_equal(found["w1"], ONE)
    np.testing.assert_array_equal(found["w2"], TWO)


def test_a_producing_parameters_name_gives_them_too(read: Read) -> None:
    np.testing.assert_array_equal(read(w3=ONE, b2=TWO)["w1"], ONE)


def test_several_producing_parameters_add_up(read: Read) -> None:
    found = read(w1=ONE, w3=10 * ONE, w2=TWO, b2=100 * TWO)
    np.testing.assert_array_equal(found["w1"], 11 * ONE)
    np.testing.assert_array_equal(found["w2"], 101 * TWO)


def test_integers_and_half_precision_are_numbers(read: Read) -> None:
    found = read(w1=ONE.astype(np.int8), w2=TWO.astype(np.float16))
    assert found["w1"].dtype == found["w2"].dtype == np.float64


def test_parameters_that_no_group_needs_may_be_named(read: Read) -> None:
    assert set(read(w1=ONE, w2=TWO, w4=np.ones(4))) == {"w1", "w2"}


def test_groups_that_stay_whole_need_no_scores(read: Read) -> None:
    assert set(read(("w2",), w2=TWO)) == {"w2"}


def test_names_with_slashes_are_names(tmp_path: Path) -> None:
    model = onnx.ModelProto.FromString(MODEL.SerializeToString().replace(b"w1", b"/1"))
    np.savez(tmp_path / "own.npz", **{"/1": ONE, "w2": TWO})
    np.testing.assert_array_equal(read_scores(tmp_path / "own.npz", analyse(model), model, ("/1", "w2"))["/1"], ONE)


def test_units_of_a_group_that_several_indices_share_take_their_sum(tmp_path: Path) -> None:
    body = "a = Conv(x, w1)  d = Conv<group = 4>(a, w2)  r = Relu(d)  y = Conv(r, w3)"
    model = build(body, {"w1": (8, 3, 1, 1), "w2": (8, 2, 1, 1), "w3": (4, 8, 1, 1)})
    groups = analyse(model)
    names = {member.tensor for group in groups.groups for member in group.members if member.role == "produces"}
    np.savez(tmp_path / "own.npz", **{name: np.ones(8) for name in names})
    found = read_scores(tmp_path / "own.npz", groups, model, [group.name for group in groups.groups])
    for group in groups.groups:
        indices = sum(len(each.units) for each in group.members if each.role == "produces")
        assert found[group.name].sum() == indices
        np.testing.assert_array_equal(found[group.name], np.full(group.size, indices / group.size))


def test_missing_groups_are_one_error(read: Read) -> None:
    with pytest.raises(InputError, match=r"no scores for 2 of 2 groups \('w1', 'w2'\)"):
        read(w4=np.ones(4))


def test_an_unknown_name_lists_close_ones(read: Read) -> None:
    with pytest.raises(InputError, match="'w22' is no group and no parameter of the model; did you mean 'w2'"):
        read(w1=ONE, w2=TWO, w22=TWO)


@pytest.mark.parametrize("size", [0, 5, 7, 600])
def test_a_wrong_size_is_refused(read: Read, size: int) -> None:
    with pytest.raises(InputError, match=f"'w2' holds {size} scores, expected 6"):
        read(w1=ONE, w2=np.ones(size))


@pytest.mark.parametrize(
    "value", [np.ones((6, 1)), np.float64(1.0), np.array(["a"] * 6), np.ones(6, dtype=bool), np.ones(6, dtype=complex)]
)
def test_what_is_not_one_number_a_channel_is_refused(read: Read, value: object) -> None:
    with pytest.raises(InputError, match=r"'w2' is .*expected one number for each channel"):
        read(w1=ONE, w2=value)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused(read: Read, bad: float) -> None:
    with pytest.raises(InputError, match="'w2' is not finite at index 3"):
        read(w1=ONE, w2=np.where(TWO == 3, bad, TWO))


def test_nothing_is_unpickled(read: Read) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, ...]:
            return (pytest.fail, ("the file was unpickled",))

    with pytest.raises(InputError, match="cannot be read as scores"):
        read(w1=ONE, w2=np.array([Trap()] * 6, dtype=object))


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04broken", b"\x93NUMPY"])
def test_what_is_no_npz_is_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "own.npz").write_bytes(content)
    with pytest.raises(InputError, match="cannot be read as scores") as refused:
        read_scores(tmp_path / "own.npz", analyse(MODEL), MODEL, ("w1",))
    assert "\n" not in str(refused.value)


def test_a_zip_of_other_things_is_one_line(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "own.npz", "w") as archive:
        archive.writestr("w1", "text")
    with pytest.raises(InputError, match=r"own\.npz"):
        read_scores(tmp_path / "own.npz", analyse(MODEL), MODEL, ("w1",))


# -- the files of `agfedge score` -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("scores.npz", (Path("scores.npz"), None)),
        ("scores.npz:agf", (Path("scores.npz"), "agf")),
        ("a:b/scores.npz:agf", (Path("a:b/scores.npz"), "agf")),
        ("a:b/scores.npz", (Path("a:b/scores.npz"), None)),
        ("agf", None),
        ("l1:agf", None),
    ],
)
def test_a_file_and_the_score_in_it(spec: str, expected: tuple[Path, str | None] | None) -> None:
    assert split_spec(spec) == expected


def test_groups_that_share_a_parameter_are_read_by_their_own_names(tmp_path: Path) -> None:
    """Two axes of one weight make channels: its name is that of the first group alone."""
    body = 'a = Einsum<equation = "nchw,cij->nijhw">(x, w1)  y = Einsum<equation = "nijhw,ijk->nkhw">(a, w2)'
    model = build(body, {"w1": (3, 4, 6), "w2": (4, 6, 2)})
    groups = analyse(model)
    scores = {"w1": np.arange(4.0), "w1#2": np.arange(6.0)}
    write_scores(tmp_path / "own.npz", {"agf": scores})
    found = read_scores(tmp_path / "own.npz", groups, model, [group.name for group in groups.groups])
    assert found.keys() == scores.keys()
    for name, values in scores.items():
        np.testing.assert_array_equal(found[name], values)
