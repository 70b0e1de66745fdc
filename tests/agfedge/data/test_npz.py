from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from agfedge.data import load_arrays, load_dataset
from agfedge_runtime.errors import InputError

LABELS = np.arange(10) % 2


def images(count: int = 10) -> NDArray[np.uint8]:
    return np.arange(count * 12, dtype=np.uint8).reshape(count, 2, 2, 3)


def save(folder: Path, **arrays: NDArray[np.generic]) -> str:
    path = folder / "data.npz"
    np.savez(path, allow_pickle=True, **arrays)
    return str(path)


def test_images_and_labels_are_read(tmp_path: Path) -> None:
    arrays = load_arrays(save(tmp_path, x=images(), y=LABELS.astype(np.uint8)))

    np.testing.assert_array_equal(arrays.x, images())
    assert arrays.y.dtype == np.int64
    assert arrays.y.tolist() == LABELS.tolist()


def test_greyscale_images_get_a_channel_axis(tmp_path: Path) -> None:
    assert load_arrays(save(tmp_path, x=images()[..., 0], y=LABELS)).x.shape == (10, 2, 2, 1)


def test_floats_of_any_width_and_rank_become_float32(tmp_path: Path) -> None:
    arrays = load_arrays(save(tmp_path, x=np.ones((10, 3), np.float64), y=LABELS))

    assert arrays.x.dtype == np.float32
    assert arrays.x.shape == (10, 3)


def test_classes_without_names_are_numbered(tmp_path: Path) -> None:
    assert load_dataset(save(tmp_path, x=images(), y=LABELS), seed=0).classes == ("0", "1")


def test_undivided_arrays_are_split_with_a_warning(tmp_path: Path) -> None:
    data = load_dataset(save(tmp_path, x=images(), y=LABELS), seed=0)

    assert [len(part) for part in (data.train, data.calibration, data.test)] == [6, 2, 2]
    assert data.warning is not None


def test_given_parts_are_kept_and_measuring_takes_the_test_part(tmp_path: Path) -> None:
    parts = {"train": 6, "calibration": 4, "test": 2}
    arrays: dict[str, NDArray[np.generic]] = {f"x_{part}": images(count) for part, count in parts.items()}
    arrays |= {f"y_{part}": LABELS[:count] for part, count in parts.items()}
    spec = save(tmp_path, **arrays)

    data = load_dataset(spec, seed=0)

    assert [len(part) for part in (data.train, data.calibration, data.test)] == [6, 4, 2]
    assert data.warning is None
    assert len(load_arrays(spec)) == 2


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (images(), LABELS[:9], "expected as many rows as labels"),
        (images(), LABELS.astype(np.float32), "expected integer labels"),
        (images(), np.eye(10, dtype=np.int64), "expected integer labels"),
        (images(), LABELS - 1, "label -1 is out of range"),
        (images(), LABELS * 10**9, "label 1000000000 is out of range"),
        (images(), LABELS.astype(np.uint64) * np.uint64(2**63), "label 9223372036854775808 is out of range"),
        (images().astype(np.int64), LABELS, "x has dtype int64; expected uint8"),
        (images().transpose(0, 3, 1, 2), LABELS, "channels first"),
        (images().reshape(10, -1), LABELS, r"expected \(N, H, W\)"),
        (np.zeros(10, np.float32), LABELS, r"expected \(N, ...\)"),
        (np.full((10, 2), np.nan, np.float32), LABELS, r"NaN or infinity \(first in row 0\)"),
        (np.full((10, 2), 1e300), LABELS, "NaN or infinity"),
        (images(0), LABELS[:0], "no samples"),
        (
            np.array([{}] * 10, object),
            LABELS,
            "'x' cannot be read: ValueError: Object arrays",
        ),
    ],
)
def test_arrays_that_do_not_fit_are_refused(
    tmp_path: Path, x: NDArray[np.generic], y: NDArray[np.generic], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        load_arrays(save(tmp_path, x=x, y=y))


def test_one_class_only_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="one class only"):
        load_dataset(save(tmp_path, x=images(), y=LABELS * 0), seed=0)


def test_a_label_beyond_the_given_classes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="label 1 is out of range; expected 0 to 0"):
        load_arrays(save(tmp_path, x=images(), y=LABELS), classes=["only"])


def test_a_missing_array_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds \['images', 'y'\] and no 'x'; expected x, y"):
        load_arrays(save(tmp_path, images=images(), y=LABELS))


def test_half_a_part_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no 'y_test'"):
        load_dataset(save(tmp_path, x_train=images(), y_train=LABELS, x_test=images()), seed=0)


def test_parts_of_different_shapes_are_refused(tmp_path: Path) -> None:
    spec = save(tmp_path, x_train=images(), y_train=LABELS, x_test=images()[:, :1], y_test=LABELS)

    with pytest.raises(InputError, match=r"shape \(1, 2, 3\), but train uint8 of shape \(2, 2, 3\)"):
        load_dataset(spec, seed=0)


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    path = Path(save(tmp_path, x=images(), y=LABELS))
    path.write_bytes(path.read_bytes()[:200])

    with pytest.raises(InputError, match=r"cannot be read as \.npz"):
        load_arrays(str(path))


def test_an_altered_file_is_refused(tmp_path: Path) -> None:
    path = Path(save(tmp_path, x=images(), y=LABELS))
    raw = bytearray(path.read_bytes())
    raw[200] ^= 1
    path.write_bytes(raw)

    with pytest.raises(InputError, match=r"array 'x' cannot be read: .*CRC"):
        load_arrays(str(path))


def test_a_path_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no such data: .*gone"):
        load_dataset(str(tmp_path / "gone"), seed=0)


def test_another_kind_of_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text("1,2\n")

    with pytest.raises(InputError, match=r"is no \.npz file"):
        load_dataset(str(path), seed=0)
