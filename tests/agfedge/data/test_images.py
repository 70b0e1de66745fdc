from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from agfedge.data import load_arrays, load_dataset
from agfedge_runtime.errors import InputError


def write_image(path: Path, value: int = 0, size: tuple[int, int] = (6, 4), mode: str = "L") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value if mode == "L" else (value, 2, 3)).save(path)
    return path


def write_classes(folder: Path, counts: Mapping[str, int]) -> Path:
    for name, count in counts.items():
        for number in range(count):
            write_image(folder / name / f"{number:03}.png", number)
    return folder


def values(x: NDArray[np.generic]) -> list[int]:
    return [int(value) for value in x[:, 0, 0, 0]]


def test_classes_are_the_sorted_folder_names(tmp_path: Path) -> None:
    write_classes(tmp_path, {"b": 5, "10": 5, "2": 5, "B": 5})

    assert load_dataset(str(tmp_path), seed=0).classes == ("10", "2", "B", "b")


def test_pixels_and_labels_come_in_the_order_of_the_file_names(tmp_path: Path) -> None:
    write_image(tmp_path / "b" / "0.png", 30)
    write_image(tmp_path / "a" / "1.png", 20)
    write_image(tmp_path / "a" / "0.png", 10)

    arrays = load_arrays(str(tmp_path))

    assert arrays.x.dtype == np.uint8
    assert arrays.x.shape == (3, 4, 6, 1)
    assert values(arrays.x) == [10, 20, 30]
    assert arrays.y.tolist() == [0, 0, 1]


def test_images_in_nested_folders_belong_to_their_class(tmp_path: Path) -> None:
    write_image(tmp_path / "a" / "deep" / "0.png", 10)
    write_image(tmp_path / "b" / "0.png", 20)

    assert load_arrays(str(tmp_path)).y.tolist() == [0, 1]


def test_hidden_and_other_files_are_passed_over(tmp_path: Path) -> None:
    write_classes(tmp_path, {"a": 1, "b": 1})
    (tmp_path / "a" / "._000.png").write_bytes(b"resource fork")
    (tmp_path / "a" / "notes.txt").write_text("no image")
    (tmp_path / ".cache").mkdir()
    (tmp_path / "README.md").write_text("no class")

    assert len(load_arrays(str(tmp_path))) == 2


def test_one_colour_image_makes_all_rgb(tmp_path: Path) -> None:
    write_image(tmp_path / "a" / "0.png", 9)
    write_image(tmp_path / "b" / "0.png", 7, mode="RGB")

    x = load_arrays(str(tmp_path)).x

    assert x[:, 0, 0].tolist() == [[9, 9, 9], [7, 2, 3]]


def test_one_colour_image_in_another_part_makes_all_rgb(tmp_path: Path) -> None:
    write_classes(tmp_path / "train", {"a": 2, "b": 2})
    write_classes(tmp_path / "test", {"a": 2, "b": 2})
    write_image(tmp_path / "test" / "b" / "colour.png", mode="RGB")

    assert load_dataset(str(tmp_path), seed=0).train.x.shape == (4, 4, 6, 3)


def test_undivided_images_are_split_60_20_20_with_a_warning(tmp_path: Path) -> None:
    write_classes(tmp_path, {"a": 10, "b": 20})

    data = load_dataset(str(tmp_path), seed=0)

    assert [len(part) for part in (data.train, data.calibration, data.test)] == [18, 6, 6]
    assert np.bincount(data.test.y).tolist() == [2, 4]
    assert data.warning is not None
    assert "optimistic" in data.warning


def test_the_same_seed_gives_the_same_split(tmp_path: Path) -> None:
    write_classes(tmp_path, {"a": 20, "b": 20})
    first, again, other = (load_dataset(str(tmp_path), seed).train for seed in (1, 1, 2))

    np.testing.assert_array_equal(first.x, again.x)
    assert not np.array_equal(first.x, other.x)


@pytest.mark.parametrize("name", ["calibration", "val", "valid", "validation"])
def test_given_parts_are_kept(tmp_path: Path, name: str) -> None:
    for number, part in enumerate(["train", name, "test"]):
        write_classes(tmp_path / part, {"a": 2 + number, "b": 1})

    data = load_dataset(str(tmp_path), seed=0)

    assert [len(part) for part in (data.train, data.calibration, data.test)] == [3, 4, 5]
    assert data.warning is None


def test_a_test_part_alone_is_halved_into_calibration_and_test(tmp_path: Path) -> None:
    write_classes(tmp_path / "train", {"a": 3, "b": 3})
    write_classes(tmp_path / "test", {"a": 4, "b": 4})

    data = load_dataset(str(tmp_path), seed=0)

    assert data.warning is None
    assert len(data.train) == 6
    assert np.bincount(data.calibration.y).tolist() == [2, 2]
    assert sorted(values(data.calibration.x) + values(data.test.x)) == [0, 0, 1, 1, 2, 2, 3, 3]


def test_a_validation_part_alone_is_halved_with_a_warning(tmp_path: Path) -> None:
    write_classes(tmp_path / "train", {"a": 3, "b": 3})
    write_classes(tmp_path / "val", {"a": 4, "b": 4})

    data = load_dataset(str(tmp_path), seed=0)

    assert (len(data.calibration), len(data.test)) == (4, 4)
    assert data.warning is not None


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    write_classes(tmp_path, {"car": 5, "train": 5})

    assert load_dataset(str(tmp_path), seed=0).classes == ("car", "train")


def test_measuring_takes_the_test_part(tmp_path: Path) -> None:
    write_classes(tmp_path / "train", {"a": 3, "b": 3})
    write_classes(tmp_path / "test", {"a": 1, "b": 1})

    assert len(load_arrays(str(tmp_path))) == 2


def test_labels_index_the_given_classes_even_where_folders_are_missing(tmp_path: Path) -> None:
    write_classes(tmp_path, {"c": 2})

    assert load_arrays(str(tmp_path), classes=["a", "b", "c"]).y.tolist() == [2, 2]


def test_a_folder_that_is_none_of_the_given_classes_is_refused(tmp_path: Path) -> None:
    write_classes(tmp_path, {"a": 1, "z": 1})

    with pytest.raises(InputError, match="class folder 'z' is none of the 2 known classes"):
        load_arrays(str(tmp_path), classes=["a", "b"])


def test_a_folder_without_class_folders_is_refused(tmp_path: Path) -> None:
    write_image(tmp_path / "0.png")

    with pytest.raises(InputError, match="holds no class folders"):
        load_dataset(str(tmp_path), seed=0)


def test_class_folders_without_images_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()

    with pytest.raises(InputError, match="holds no images"):
        load_dataset(str(tmp_path), seed=0)


def test_one_class_without_images_is_named(tmp_path: Path) -> None:
    write_classes(tmp_path, {"a": 3})
    (tmp_path / "b").mkdir()

    with pytest.raises(InputError, match=r"class folder .*b holds no images"):
        load_dataset(str(tmp_path), seed=0)


def test_a_single_class_is_refused(tmp_path: Path) -> None:
    write_classes(tmp_path, {"a": 9})

    with pytest.raises(InputError, match="one class only"):
        load_dataset(str(tmp_path), seed=0)


def test_classes_that_differ_between_the_parts_are_named(tmp_path: Path) -> None:
    write_classes(tmp_path / "train", {"a": 2, "b": 2})
    write_classes(tmp_path / "test", {"a": 2, "c": 2})

    with pytest.raises(InputError, match="class 'b' is in train but not in test"):
        load_dataset(str(tmp_path), seed=0)


def test_a_train_folder_alone_is_refused(tmp_path: Path) -> None:
    write_classes(tmp_path / "train", {"a": 2, "b": 2})

    with pytest.raises(InputError, match="has train only; expected train and test"):
        load_dataset(str(tmp_path), seed=0)


def test_mixed_sizes_name_both_files(tmp_path: Path) -> None:
    write_image(tmp_path / "a" / "small.png", size=(6, 4))
    write_image(tmp_path / "b" / "large.png", size=(8, 5))

    with pytest.raises(InputError, match=r"small\.png is 6x4 and .*large\.png is 8x5"):
        load_dataset(str(tmp_path), seed=0)


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_a_truncated_image_is_named(tmp_path: Path, suffix: str) -> None:
    write_classes(tmp_path, {"a": 1, "b": 1})
    noise = np.random.default_rng(0).integers(0, 256, (4, 6), np.uint8)
    path = tmp_path / "b" / f"cut{suffix}"
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:-30])

    with pytest.raises(InputError, match=f"cut{suffix} cannot be read as an image"):
        load_arrays(str(tmp_path))


def test_a_file_that_is_no_image_is_named(tmp_path: Path) -> None:
    write_classes(tmp_path, {"a": 1, "b": 1})
    (tmp_path / "b" / "text.jpg").write_text("hello")

    with pytest.raises(InputError, match=r"text\.jpg cannot be read as an image"):
        load_arrays(str(tmp_path))


def test_sixteen_bit_images_are_refused_rather_than_clipped(tmp_path: Path) -> None:
    write_classes(tmp_path, {"a": 1, "b": 1})
    Image.fromarray(np.full((4, 6), 60_000, np.uint16)).save(tmp_path / "b" / "deep.png")

    with pytest.raises(InputError, match=r"deep\.png has more than 8 bits"):
        load_arrays(str(tmp_path))


def test_too_few_images_to_split_are_refused(tmp_path: Path) -> None:
    write_classes(tmp_path, {"a": 1, "b": 1})

    with pytest.raises(InputError, match="2 samples are too few to split"):
        load_dataset(str(tmp_path), seed=0)
