from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import numpy as np
import pytest

from agfedge.data import Dataset, load_dataset
from agfedge.demo.digits import write_digits
from agfedge_runtime.errors import InputError, MissingPackageError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("digits") / "data"
    write_digits(folder)
    return folder


@pytest.fixture(scope="module")
def digits(folder: Path) -> Dataset:
    return load_dataset(str(folder), seed=0)


def digest(folder: Path) -> str:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return hashlib.sha256(
        b"".join(f"{path.relative_to(folder)}\0".encode() + path.read_bytes() for path in files)
    ).hexdigest()


def test_the_parts_hold_750_550_and_497_greyscale_images(digits: Dataset) -> None:
    assert digits.classes == tuple("0123456789")
    assert digits.train.x.shape == (750, 8, 8, 1)
    assert digits.calibration.x.shape == (550, 8, 8, 1)
    assert digits.test.x.shape == (497, 8, 8, 1)
    assert digits.warning is None


def test_pixels_use_the_whole_range(digits: Dataset) -> None:
    assert (int(digits.train.x.min()), int(digits.train.x.max())) == (0, 255)


def test_every_digit_is_spread_evenly(digits: Dataset) -> None:
    parts = (digits.train, digits.calibration, digits.test)
    counts = np.stack([np.bincount(part.y, minlength=10) for part in parts])
    fractions = counts / counts.sum(axis=0)

    np.testing.assert_allclose(fractions, np.array([[750], [550], [497]]) / 1797 + np.zeros(10), atol=0.01)


def test_the_same_seed_writes_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    write_digits(tmp_path / "again")

    assert digest(tmp_path / "again") == digest(folder)


@pytest.mark.slow
def test_digits_written_before_are_replaced(tmp_path: Path) -> None:
    write_digits(tmp_path / "data", seed=0)
    before = digest(tmp_path / "data")
    write_digits(tmp_path / "data", seed=1)

    assert digest(tmp_path / "data") != before
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")

    with pytest.raises(InputError, match="not empty"):
        write_digits(tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_missing_scikit_learn_names_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)

    with pytest.raises(MissingPackageError, match=r"pip install scikit-learn$"):
        write_digits(tmp_path / "data")
