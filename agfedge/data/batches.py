"""Read arrays from a torch Dataset or DataLoader, any iterable of batches, or a mapping of such to the parts."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from agfedge.base.factory import one_line, resolve
from agfedge.base.progress import bar
from agfedge.data.arrays import PARTS, Arrays, Source, checked
from agfedge_runtime.errors import AgfedgeError, InputError

if TYPE_CHECKING:
    from agfedge.data.arrays import PathLike

# Samples of a Dataset that are stacked at a time.
BATCH = 64


def read_factory(spec: str) -> Source:
    """Call a factory; its batches are read when a part is called.

    Args:
        spec: ``package.module:name`` or ``path.py:name``. The factory returns what ``read_object`` takes.

    Raises:
        InputError: The factory cannot be found or fails, or see ``read_object``.
    """
    return read_object(resolve(spec, "data")(), f"data factory {spec}")


def read_object(given: object, name: str = "data", read_path: Callable[[PathLike], Source] | None = None) -> Source:
    """List the parts of data in memory; each is read when it is called.

    Args:
        given: A torch Dataset or DataLoader, or another iterable of batches ``(x, y)`` (arrays or tensors); or a
            mapping of such with the keys ``train``, ``test`` and perhaps ``calibration``.
        name: Of the data, for messages.
        read_path: Lists the parts of data that is given by its path, where the values of a mapping may be paths.

    Raises:
        InputError: A mapping has other keys; and, when a part is read: it fails while it is iterated, or its batches
            do not fit (see ``arrays.checked``).
    """
    if not isinstance(given, Mapping):
        return Source(name, _classes(given), {"all": partial(_read, given, name)})
    unknown = [key for key in given if key not in PARTS]
    if unknown or not given:
        raise InputError(f"{name} has the keys {list(given)}; expected {', '.join(PARTS)}")
    sources = {part: _part(value, f"{name} ({part})", read_path) for part, value in given.items()}
    named = {part: source.classes for part, source in sources.items() if source.classes is not None}
    if len(set(named.values())) > 1:
        differing = " and ".join(
            f"{part} {', '.join(names[:3])}{', ...' if len(names) > 3 else ''}" for part, names in named.items()
        )
        raise InputError(f"{name} has other classes in each part ({differing}): expected the same, in one order")
    return Source(name, next(iter(named.values()), None), {part: each.parts["all"] for part, each in sources.items()})


def _part(given: object, where: str, read_path: Callable[[PathLike], Source] | None) -> Source:
    """One part of a mapping, undivided."""
    if read_path is None or not isinstance(given, (str, PurePath)):
        return Source(where, _classes(given), {"all": partial(_read, given, where)})
    source = read_path(given)
    if set(source.parts) != {"all"}:
        raise InputError(f"{where} is {given}, which has {' and '.join(source.parts)} of its own: give it alone")
    return source


def _classes(part: object) -> tuple[str, ...] | None:
    """The names of the classes, where a data set knows them as those of torchvision do."""
    while not hasattr(part, "classes") and hasattr(part, "dataset"):  # a DataLoader of a Subset of a data set
        part = part.dataset
    names = getattr(part, "classes", None)
    if isinstance(names, (list, tuple)) and names and all(isinstance(name, str) for name in names):
        return tuple(names)
    return None


def _read(given: object, where: str) -> Arrays:
    batches = _batches(given, where)
    try:
        pairs = [_pair(batch, where) for batch in bar(batches, title=f"read {where}", unit="batch", delay=1)]
    except AgfedgeError:
        raise
    except Exception as error:
        raise InputError(f"{where} failed while it was read: {one_line(error)}") from error
    if not pairs:
        raise InputError(f"{where} gave no batches")
    return _concatenated(pairs, where)


def _batches(given: object, where: str) -> Iterable[object]:
    """Batches in an order that is the same each time, where the data set has one."""
    if "torch" in sys.modules and (batches := _of_torch(given, where)) is not None:  # else it made nothing
        return batches
    if not isinstance(given, Iterable):
        raise InputError(
            f"{where} is of type {type(given).__name__}; expected a torch Dataset or DataLoader, or another iterable "
            "of batches (x, y)"
        )
    return given


def _of_torch(given: object, where: str) -> Iterable[object] | None:
    from torch.utils.data import DataLoader, Dataset

    if isinstance(given, DataLoader):
        return _in_order(given)
    if isinstance(given, Dataset):
        if not hasattr(given, "__len__") or not hasattr(given, "__getitem__"):
            raise InputError(
                f"{where} is a {type(given).__name__} without a length: give it __len__ and __getitem__, or give a "
                "list of batches (x, y)"
            )
        return DataLoader(given, batch_size=BATCH, collate_fn=_stacked)
    return None


def _in_order(loader: Any) -> Iterable[object]:
    """A loader that shuffles, without that: nothing here depends on the order but whether work can be continued."""
    from torch.utils.data import DataLoader, RandomSampler

    sampler = loader.sampler
    if not isinstance(sampler, RandomSampler) or sampler.replacement or sampler.num_samples != len(loader.dataset):
        plain: Iterable[object] = loader
        return plain
    return DataLoader(
        loader.dataset, batch_size=loader.batch_size, collate_fn=loader.collate_fn, num_workers=loader.num_workers
    )


def _stacked(samples: list[Any]) -> tuple[NDArray[np.generic], NDArray[np.generic]]:
    """Stacks samples (x, y): tensors, arrays or PIL images, all of one shape."""
    first = samples[0]
    if not isinstance(first, (tuple, list)) or len(first) != 2:
        raise InputError(f"the Dataset gives a {type(first).__name__}: expected samples (x, y){_pick(first)}")
    inputs = [_array(x) for x, _ in samples]
    shapes = {x.shape for x in inputs}
    if len(shapes) > 1:
        one, other = sorted(shapes)[:2]
        raise InputError(f"the Dataset gives inputs of shapes {one} and {other}: resize them to one shape")
    return np.stack(inputs), np.array([int(y) for _, y in samples])


def _pick(given: object) -> str:
    """How to make a pair of a mapping, in words; empty for anything else."""
    if not isinstance(given, Mapping):
        return ""
    keys = [str(key) for key in given]
    x, y = [*keys, "x", "y"][:2]
    return f", such as (item[{x!r}], item[{y!r}]): wrap it, or give a DataLoader whose collate_fn returns them"


def _pair(batch: object, where: str) -> tuple[NDArray[np.generic], NDArray[np.generic]]:
    if not isinstance(batch, (tuple, list)) or len(batch) != 2:
        raise InputError(f"{where} gave a {type(batch).__name__}; expected batches (x, y){_pick(batch)}")
    x, y = _array(batch[0]), _array(batch[1])
    if y.ndim == 0:
        raise InputError(f"{where} gave a single sample; expected batches (x, y): wrap it in a DataLoader")
    return x, y


def _array(value: object) -> NDArray[np.generic]:
    # A torch tensor may need gradients or live on a GPU; torch itself need not be imported to ask it.
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    array: NDArray[np.generic] = np.asarray(value)
    return array


def _concatenated(pairs: list[tuple[NDArray[np.generic], NDArray[np.generic]]], where: str) -> Arrays:
    first = pairs[0][0]
    for x, _ in pairs:
        if x.shape[1:] != first.shape[1:] or x.dtype != first.dtype:
            raise InputError(
                f"{where} gave batches of {first.dtype} {first.shape} and {x.dtype} {x.shape}; "
                "expected one dtype and one shape"
            )
    return checked(np.concatenate([x for x, _ in pairs]), np.concatenate([y for _, y in pairs]), where)
