from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from agfedge.data import load_arrays, load_dataset
from agfedge_runtime.errors import InputError

LOADERS = """
import numpy as np
import torch
from torch.utils.data import DataLoader, TensorDataset

def batches(sizes=(4, 4, 2)):
    return [(np.zeros((n, 2, 2, 3), np.uint8), np.arange(n) % 2) for n in sizes]

def parts():
    return {"train": batches((6,)), "calibration": batches((4,)), "test": batches((2,))}

def loader():
    return DataLoader(TensorDataset(torch.zeros(10, 3, 2, 2), torch.arange(10) % 2), batch_size=4)

def with_gradients():
    return [(torch.zeros(4, 3, requires_grad=True), torch.arange(4) % 2)]

def samples():
    return TensorDataset(torch.zeros(10, 3, 2, 2), torch.arange(10) % 2)

def singles():
    return [(np.zeros((2, 2, 3), np.uint8), 1)]

def a_number():
    return 7

def bare():
    return [np.zeros((4, 3), np.float32)]

def nothing():
    return []

def mixed():
    return [(np.zeros((2, width), np.float32), np.zeros(2, int)) for width in (3, 4)]

def failing():
    yield batches()[0]
    raise OSError("disk gone")

def wrong_keys():
    return {"training": batches()}
"""


@pytest.fixture(scope="module")
def loaders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    modules, path = set(sys.modules), list(sys.path)
    file = tmp_path_factory.mktemp("loaders") / "loaders.py"
    file.write_text(LOADERS)
    yield file
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if name.startswith("_agfedge_factory_"):
            del sys.modules[name]


def test_batches_are_joined(loaders: Path) -> None:
    arrays = load_arrays(f"{loaders}:batches")

    assert arrays.x.shape == (10, 2, 2, 3)
    assert arrays.x.dtype == np.uint8
    assert arrays.y.tolist() == [0, 1, 0, 1, 0, 1, 0, 1, 0, 1]


def test_a_torch_loader_will_do(loaders: Path) -> None:
    arrays = load_arrays(f"{loaders}:loader")

    assert arrays.x.shape == (10, 3, 2, 2)
    assert arrays.x.dtype == np.float32


def test_tensors_that_need_gradients_will_do(loaders: Path) -> None:
    assert load_arrays(f"{loaders}:with_gradients").x.shape == (4, 3)


def test_a_mapping_gives_the_parts(loaders: Path) -> None:
    data = load_dataset(f"{loaders}:parts", seed=0)

    assert [len(part) for part in (data.train, data.calibration, data.test)] == [6, 4, 2]
    assert data.warning is None


def test_undivided_batches_are_split_with_a_warning(loaders: Path) -> None:
    assert load_dataset(f"{loaders}:batches", seed=0).warning is not None


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a_number", "is of type int; expected a torch Dataset or DataLoader, or another iterable of batches"),
        ("singles", "gave a single sample; expected batches .*DataLoader"),
        ("bare", r"gave a ndarray; expected batches \(x, y\)"),
        ("nothing", "gave no batches"),
        ("mixed", r"gave batches of float32 \(2, 3\) and float32 \(2, 4\)"),
        ("failing", "failed while it was read: OSError: disk gone"),
        ("wrong_keys", r"has the keys \['training'\]; expected train, calibration, test"),
        ("batchs", "did you mean batches"),
    ],
)
def test_a_factory_that_gives_something_else_is_refused(loaders: Path, name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_arrays(f"{loaders}:{name}")
