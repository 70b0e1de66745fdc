"""Points are files of their own: nothing measured is lost, and nothing of another comparison is mixed in."""

from __future__ import annotations

from pathlib import Path

import pytest

from agfedge.study.compare import ComparePoint
from agfedge.study.compare.points import store_of
from agfedge_runtime.errors import InputError

POINT = ComparePoint("agf", 0.25, 1, 100, 5, 7, one_shot=0.5, recovered=0.75, training="slimmed", epochs=3)
IDENTITY: dict[str, object] = {"model_sha256": "ab", "samples": 64}


def test_a_point_comes_back_as_it_was_put(tmp_path: Path) -> None:
    store_of(tmp_path, IDENTITY).put(POINT)
    assert store_of(tmp_path, IDENTITY).get("agf-0.25-1") == POINT


def test_a_point_that_was_not_measured_is_none(tmp_path: Path) -> None:
    assert store_of(tmp_path, IDENTITY).get("agf-0.5-1") is None


def test_all_points_of_the_folder_are_found(tmp_path: Path) -> None:
    store = store_of(tmp_path, IDENTITY)
    store.put(POINT)
    store_of(tmp_path, IDENTITY).put(ComparePoint("l1", 0.25, 1, 100, 5, 7, one_shot=0.25))
    assert [each.score for each in store.all()] == ["agf", "l1"]


def test_points_of_another_comparison_are_refused(tmp_path: Path) -> None:
    store_of(tmp_path, IDENTITY)
    with pytest.raises(
        InputError, match=r"points of another comparison \(samples was 64, now 65\): choose another --out"
    ):
        store_of(tmp_path, {**IDENTITY, "samples": 65})


@pytest.mark.parametrize("text", ["", "[]", '{"score": "agf"}', "{}", "null"])
def test_a_broken_point_is_named(tmp_path: Path, text: str) -> None:
    store = store_of(tmp_path, IDENTITY)
    (tmp_path / "points" / "agf-0.25-1.json").write_text(text)
    with pytest.raises(
        InputError, match=r"agf-0\.25-1\.json is no point of a comparison .*: remove it to measure it again"
    ):
        store.get("agf-0.25-1")


def test_an_accuracy_beyond_one_is_no_point(tmp_path: Path) -> None:
    store = store_of(tmp_path, IDENTITY)
    store.put(ComparePoint("agf", 0.25, 1, 100, 5, 7, one_shot=1.5))
    with pytest.raises(InputError, match="is no point"):
        store.all()
