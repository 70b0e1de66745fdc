"""Data and models as people hold them in Python, and the one line that each mistake gets."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn
from torch.utils.data import (
    BatchSampler,
    ConcatDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

import agfedge
from agfedge.data import load_arrays, load_dataset
from agfedge_runtime.errors import InputError
from nets import SIDE, Flat, Residual, seeded, stripes

X, Y = stripes(60)
TENSORS = TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))


class Items(Dataset):
    """A data set of whatever samples it is given."""

    def __init__(self, samples: list, classes: object = None) -> None:
        self.samples = samples
        if classes is not None:
            self.classes = classes

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> object:
        return self.samples[index]


class Endless(IterableDataset):
    def __iter__(self) -> Iterator[object]:
        return iter(zip(X, Y, strict=True))


class Lengthless(Dataset):
    def __getitem__(self, index: int) -> object:
        return X[index], Y[index]


def drawn(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    "given",
    [
        TENSORS,
        DataLoader(TENSORS, batch_size=7),
        DataLoader(TENSORS, batch_size=7, shuffle=True, generator=drawn(1)),
        DataLoader(TENSORS, batch_size=7, shuffle=True, drop_last=True),
        DataLoader(TENSORS, batch_sampler=BatchSampler(range(60), 7, drop_last=False)),
        Items(list(zip(X, Y, strict=True))),
        Items([[x, int(y)] for x, y in zip(X, Y, strict=True)]),
        ConcatDataset([Subset(TENSORS, range(20)), Subset(TENSORS, range(20, 60))]),
        [(X[:50], Y[:50]), (torch.from_numpy(X[50:]), torch.from_numpy(Y[50:]))],
        ((X[first : first + 20], Y[first : first + 20]) for first in (0, 20, 40)),
    ],
    ids=[
        "data set", "loader", "shuffling loader", "shuffling loader that drops", "loader with a batch sampler",
        "samples of arrays", "samples in lists", "concatenated", "list of batches", "generator of batches",
    ],
)  # fmt: skip
def test_all_hold_the_same_arrays_in_one_order(given: object) -> None:
    arrays = load_arrays(given)
    assert arrays.x.dtype == np.float32
    np.testing.assert_array_equal(arrays.x, X)
    np.testing.assert_array_equal(arrays.y, Y)


def test_a_loader_that_shuffles_is_left_as_it_is() -> None:
    loader = DataLoader(TENSORS, batch_size=60, shuffle=True, generator=drawn(1))
    expected = next(iter(DataLoader(TENSORS, batch_size=60, shuffle=True, generator=drawn(1))))
    load_arrays(loader)
    assert torch.equal(next(iter(loader))[1], expected[1])


def test_a_sampler_of_a_subset_gives_the_subset_alone() -> None:
    arrays = load_arrays(DataLoader(TENSORS, batch_size=4, sampler=SubsetRandomSampler(range(5, 25))))
    assert sorted(x.tobytes() for x in arrays.x) == sorted(x.tobytes() for x in X[5:25])


def test_a_sampler_that_draws_fewer_is_obeyed() -> None:
    assert len(load_arrays(DataLoader(TENSORS, sampler=WeightedRandomSampler([1.0] * 60, 10)))) == 10


def test_pil_images_become_bytes() -> None:
    images = Items([(Image.new(mode, (5, 4), 7), 1) for mode in ("L", "L")])
    colours = Items([(Image.new("RGB", (5, 4), (1, 2, 3)), 0)])
    assert load_arrays(images).x.shape == (2, 4, 5, 1)
    assert load_arrays(images).x.dtype == np.uint8
    assert load_arrays(colours).x.tolist() == [[[[1, 2, 3]] * 5] * 4]


@pytest.mark.parametrize("label", [1, np.int64(1), torch.tensor(1), np.array(1)])
def test_labels_may_be_any_whole_number(label: object) -> None:
    assert load_arrays(Items([(X[0], label)])).y.tolist() == [1]


def test_a_mapping_names_the_parts() -> None:
    data = load_dataset({"train": TENSORS, "calibration": [(X[:9], Y[:9])], "test": DataLoader(TENSORS)}, seed=0)
    assert [len(part) for part in (data.train, data.calibration, data.test)] == [60, 9, 60]
    assert data.warning is None


def test_a_test_part_alone_is_divided_to_calibrate() -> None:
    data = load_dataset({"train": TENSORS, "test": TENSORS}, seed=0)
    assert [len(part) for part in (data.train, data.calibration, data.test)] == [60, 30, 30]


def test_undivided_data_is_divided_with_a_warning() -> None:
    data = load_dataset(TENSORS, seed=0)
    assert [len(part) for part in (data.train, data.calibration, data.test)] == [36, 12, 12]
    assert data.warning is not None


NAMES = ["horizontal", "vertical", "none"]
NAMED = Items(list(zip(X, Y, strict=True)), NAMES)


@pytest.mark.parametrize(
    "given",
    [
        NAMED,
        DataLoader(NAMED, batch_size=20),
        Subset(NAMED, range(50)),
        DataLoader(Subset(Subset(NAMED, range(50)), range(40))),
        {"train": NAMED, "test": DataLoader(NAMED)},
        {"train": NAMED, "test": TENSORS},
    ],
    ids=["data set", "loader", "subset", "loader of a subset", "mapping", "mapping of which one part knows"],
)
def test_classes_are_called_as_the_data_set_calls_them(given: object) -> None:
    assert load_dataset(given, seed=0).classes == tuple(NAMES)


@pytest.mark.parametrize("classes", [None, [0, 1, 2], [], 3])
def test_classes_without_names_are_numbered(classes: object) -> None:
    assert load_dataset(Items(list(zip(X, Y, strict=True)), classes), seed=0).classes == ("0", "1", "2")


def dicts() -> list[dict[str, object]]:
    return [{"image": x, "label": int(y)} for x, y in zip(X, Y, strict=True)]


MIXED = [(np.zeros((4, 4), np.uint8), 0), (np.zeros((5, 4), np.uint8), 1)]
REFUSED = {
    "an iterable data set": (
        Endless(),
        "data is a Endless without a length: give it __len__ and __getitem__, or give a list of batches (x, y)",
    ),
    "no length": (
        Lengthless(),
        "data is a Lengthless without a length: give it __len__ and __getitem__, or give a list of batches (x, y)",
    ),
    "a data set of dicts": (
        Items(dicts()),
        "the Dataset gives a dict: expected samples (x, y), such as (item['image'], item['label']): wrap it, or give "
        "a DataLoader whose collate_fn returns them",
    ),
    "a loader of dicts": (
        DataLoader(Items(dicts()), batch_size=4),
        "data gave a dict; expected batches (x, y), such as (item['image'], item['label']): wrap it, or give a "
        "DataLoader whose collate_fn returns them",
    ),
    "a data set of three": (Items([(X[0], 1, 2)]), "the Dataset gives a tuple: expected samples (x, y)"),
    "a data set of images alone": (Items([X[0]]), "the Dataset gives a ndarray: expected samples (x, y)"),
    "images of two shapes": (
        Items(MIXED),
        "the Dataset gives inputs of shapes (4, 4) and (5, 4): resize them to one shape",
    ),
    "two shapes in batches": (
        [(x[np.newaxis], np.array([y])) for x, y in MIXED],
        "data gave batches of uint8 (1, 4, 4) and uint8 (1, 5, 4); expected one dtype and one shape",
    ),
    "an empty data set": (Items([]), "data gave no batches"),
    "a label that is a word": (
        Items([(X[0], "cat")]),
        "data failed while it was read: ValueError: invalid literal for int() with base 10: 'cat'",
    ),
    "a number": (5, "data is of type int; expected a torch Dataset or DataLoader, or another iterable of batches"),
    "nothing": (None, "data is of type NoneType; expected a torch Dataset or DataLoader, or another iterable"),
    "an array": (X, "data gave a ndarray; expected batches (x, y)"),
    "a wrong key": (
        {"train": TENSORS, "validation": TENSORS},
        "data has the keys ['train', 'validation']; expected train, calibration, test",
    ),
    "no key": ({}, "data has the keys []; expected train, calibration, test"),
    "train alone": ({"train": TENSORS}, "data has train only; expected train and test, or neither"),
    "two names for one class": (
        {"train": NAMED, "test": Items(list(zip(X, Y, strict=True)), ["none", "vertical", "horizontal"])},
        "data has other classes in each part (train horizontal, vertical, none and test none, vertical, horizontal): "
        "expected the same, in one order",
    ),
    "a label beyond the names": (
        Items(list(zip(X, Y, strict=True)), ["horizontal", "vertical"]),
        "data (train): label 2 is out of range; expected 0 to 1",
    ),
    "a part of another shape": (
        {"train": TENSORS, "test": [(X[:, :, 1:], Y)]},
        "data: calibration holds float32 of shape (1, 5, 6), but train float32 of shape (1, 6, 6); expected the same",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_data_that_does_not_fit_is_told_in_one_line(name: str, tmp_path: Path) -> None:
    given, told = REFUSED[name]
    with pytest.raises(InputError) as caught:
        agfedge.export(seeded(Residual), given, tmp_path / "bundle")
    assert str(caught.value).startswith(told)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def unplaced() -> nn.Module:
    with torch.device("meta"):
        return Flat()


def half_placed() -> nn.Module:
    module = Flat()
    module.linear.to("meta")
    return module


def uncopyable() -> nn.Module:
    module = Flat()
    module.lock = threading.Lock()
    return module


@pytest.mark.parametrize(
    ("model", "told"),
    [
        (unplaced(), "the model is on meta: give model.cpu(); where a GPU helps, a copy is moved there"),
        (half_placed(), "the model is on meta: give model.cpu(); where a GPU helps, a copy is moved there"),
        (
            uncopyable(),
            "the model cannot be copied (TypeError: cannot pickle '_thread.lock' object): give its factory instead",
        ),
        (5, "model is a int: expected a torch.nn.Module, or package.module:function as text"),
        (Flat, "model is a type: expected a torch.nn.Module, or package.module:function as text"),
        (
            seeded(Flat).state_dict(),
            "model is a OrderedDict: expected a torch.nn.Module, or package.module:function as text",
        ),
    ],
    ids=["elsewhere", "half elsewhere", "uncopyable", "number", "class", "state dict"],
)
def test_a_model_that_does_not_fit_is_told_in_one_line(model: object, told: str) -> None:
    with pytest.raises(InputError) as caught:
        agfedge.score(model, TENSORS)
    assert str(caught.value) == told


def test_a_model_and_images_of_another_side_are_told_in_one_line() -> None:
    wide: NDArray[np.float32] = np.zeros((30, 1, SIDE, SIDE + 1), np.float32)
    with pytest.raises(InputError, match=r"^the model does not take inputs of shape \(N, 1, 6, 7\): RuntimeError: "):
        agfedge.score(seeded(Flat), [(wide, np.arange(30) % 3)])


def folder_of(place: Path, count: int) -> Path:
    for label in ("cat", "dog"):
        (place / label).mkdir(parents=True)
        for row in range(count):
            Image.fromarray(np.full((2, 2), row, np.uint8)).save(place / label / f"{row}.png")
    return place


def test_the_parts_of_a_mapping_may_be_paths(tmp_path: Path) -> None:
    train, test = folder_of(tmp_path / "a", 4), folder_of(tmp_path / "b", 3)
    data = load_dataset({"train": train, "test": str(test)}, seed=0)
    assert data.classes == ("cat", "dog")
    assert [len(part) for part in (data.train, data.calibration, data.test)] == [8, 3, 3]


def test_a_path_whose_data_is_divided_is_no_part(tmp_path: Path) -> None:
    folder_of(tmp_path / "all" / "train", 2)
    folder_of(tmp_path / "all" / "test", 2)
    with pytest.raises(
        InputError, match=r"data \(train\) is .*all, which has train and test of its own: give it alone"
    ):
        load_dataset({"train": tmp_path / "all", "test": tmp_path / "all"}, seed=0)
