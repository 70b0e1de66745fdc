"""What an export decides by itself: classes, warnings, and what it refuses before the long work."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from agfedge.allocate import AllocationRequest
from agfedge.base.requests import check_seed
from agfedge.base.statistics import share_of
from agfedge.bundles.assembling import warnings_of
from agfedge.bundles.evaluation import Evaluation
from agfedge.bundles.export_request import ExportRequest, check_request
from agfedge.data import Arrays, Dataset
from agfedge.recover import Recovery, RecoveryReport
from agfedge.router import Bound
from agfedge.subject.origin import Origin
from agfedge.subject.subject import with_classes_of
from agfedge_runtime.errors import InputError
from asking import export_request

SLIM = RecoveryReport("slimmed", 1, (0.5, 0.6))


def dataset(classes: tuple[str, ...], y: np.ndarray | None = None, warning: str | None = None) -> Dataset:
    labels = np.arange(20) % len(classes) if y is None else y
    part = Arrays(np.zeros((len(labels), 2), np.float32), labels)
    return Dataset(classes, part, part, part, warning)


def test_numbered_classes_are_counted_on_to_the_models_head() -> None:
    assert with_classes_of(dataset(("0", "1", "2")), 5).classes == ("0", "1", "2", "3", "4")


@pytest.mark.parametrize("classes", [("0", "1", "2"), ("cat", "dog", "emu")])
def test_classes_that_fit_the_head_stay(classes: tuple[str, ...]) -> None:
    assert with_classes_of(dataset(classes), 3).classes == classes


def test_named_classes_are_never_made_up() -> None:
    with pytest.raises(InputError, match=r"the model's head has 5 classes, the data has 3 \(cat to emu\)"):
        with_classes_of(dataset(("cat", "dog", "emu")), 5)


def test_folders_with_numbers_out_of_order_are_names() -> None:
    # As folders sort: "10" is class 1. Counting on would name what it is not.
    with pytest.raises(InputError, match="they must be the same"):
        with_classes_of(dataset(("0", "10", "2")), 5)


@pytest.mark.parametrize("classes", [("0", "1", "2"), ("cat", "dog", "emu")])
def test_labels_beyond_the_head_are_refused(classes: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match=r"the model's head has 2 classes, the data has 3 \("):
        with_classes_of(dataset(classes), 2)


def evaluation(right: float, count: int = 1000) -> Evaluation:
    share = share_of(np.arange(count) < right * count)
    return Evaluation(share, share, share, share, share)


@pytest.mark.parametrize(
    ("labels", "right", "told"),
    [
        (np.arange(1000) % 10, 0.12, True),
        (np.arange(1000) % 10, 0.35, False),
        (np.arange(1000) % 2, 0.52, True),
        (np.arange(1000) % 2, 0.97, False),
        ((np.arange(1000) < 50).astype(np.int64), 0.951, True),
        ((np.arange(1000) < 50).astype(np.int64), 0.98, False),
    ],
)
def test_a_heavy_expert_hardly_better_than_naming_the_commonest_class_is_told(
    labels: np.ndarray, right: float, told: bool
) -> None:
    classes = tuple(str(each) for each in range(int(labels.max()) + 1))
    warnings = warnings_of(dataset(classes, labels), evaluation(right), SLIM)
    assert bool(warnings) is told
    if told:
        assert "check --weights, --mean and --std" in warnings[0]


def test_what_the_data_warns_of_and_a_masked_recovery_are_passed_on() -> None:
    masked = RecoveryReport("masked", 1, (0.5, 0.6), "its code fixes shapes (RuntimeError: no)")
    warnings = warnings_of(dataset(("0", "1"), warning="the data was not divided"), evaluation(0.9), masked)
    assert warnings[0] == "the data was not divided"
    assert "masked, at the dense cost: its code fixes shapes (RuntimeError: no)" in warnings[1]


def request(tmp_path: Path, **options: object) -> ExportRequest:
    return export_request(**{"out": str(tmp_path / "out"), **options})


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("amount", AllocationRequest(keep=0.0), r"--keep is 0\.0: expected a share"),
        ("amount", AllocationRequest(keep=math.nan), "--keep is nan: expected a share"),
        ("amount", AllocationRequest(keep=0.5, budget=0.5), "--keep and --budget both say how much stays"),
        ("recovery", Recovery(epochs=-1), "--epochs is -1: expected 0 or more"),
        ("recovery", Recovery(seed=-1), "--seed is -1: expected 0 to"),
        ("recovery", Recovery(seed=2**64), "--seed is 18446744073709551616"),
        ("bound", Bound(0.0, 0.05), r"--epsilon is 0\.0: expected a number between 0 and 1"),
        ("bound", Bound(0.005, 1.0), r"--delta is 1\.0: expected a number between 0 and 1"),
        ("score", "wand", "no score is called 'wand' \\(did you mean wanda or random\\?\\): expected one of agf"),
        ("origin", Origin("m:f", "d", mean=(0.5, math.nan)), "--mean holds nan: expected numbers"),
        ("origin", Origin("m:f", "d", std=(math.inf,)), "--std holds inf: expected numbers"),
    ],
)
def test_options_that_cannot_work_are_refused_at_once(tmp_path: Path, option: str, value: object, told: str) -> None:
    with pytest.raises(InputError, match=told):
        check_request(request(tmp_path, **{option: value}))


def test_a_folder_that_is_no_bundle_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    check_request(request(tmp_path))
    (tmp_path / "out" / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match="is not empty and holds no bundle: empty it or choose another"):
        check_request(request(tmp_path))
    (tmp_path / "out" / "manifest.json").write_text("{}")
    check_request(request(tmp_path))


def test_a_file_or_a_link_is_no_folder_for_a_bundle(tmp_path: Path) -> None:
    (tmp_path / "out").symlink_to(tmp_path)
    with pytest.raises(InputError, match="is a file or a link: expected a bundle's folder or a free name"):
        check_request(request(tmp_path))
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file or a link"):
        check_request(request(tmp_path, out=str(tmp_path / "file")))


def test_a_seed_fits_every_generator() -> None:
    for seed in (0, 2**63 - 1):
        check_seed(seed)
        np.random.default_rng(seed)
