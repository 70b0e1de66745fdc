"""Read arrays from what a user's factory returns: an iterable of batches, or three of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial

import numpy as np
from numpy.typing import NDArray

from agfedge.data.arrays import Arrays, Source
from agfedge.data.checks import checked
from agfedge.data.npz import PARTS
from agfedge.factory import one_line, resolve
from agfedge_runtime.errors import AgfedgeError, InputError


def read_factory(spec: str) -> Source:
    """Call a factory; its batches are read when a part is called.

    Args:
        spec: ``package.module:name`` or ``path.py:name``. The factory returns an iterable of batches
            ``(x, y)`` (arrays or tensors: a torch DataLoader will do), or a mapping of such with the keys
            ``train``, ``test`` and perhaps ``calibration``.

    Raises:
        InputError: The factory cannot be found or fails, or returns something else; and, when a part is
            read: it fails while it is iterated, or its batches do not fit (see ``checks.checked``).
    """
    made = resolve(spec, "data")()
    if not isinstance(made, Mapping):
        return Source(spec, None, {"all": partial(_read, made, spec)})
    unknown = [key for key in made if key not in PARTS]
    if unknown or not made:
        raise InputError(f"data factory {spec} returned the keys {list(made)}; expected {', '.join(PARTS)}")
    return Source(spec, None, {part: partial(_read, made[part], f"{spec} ({part})") for part in made})


def _read(batches: object, where: str) -> Arrays:
    if not isinstance(batches, Iterable):
        raise InputError(
            f"data factory {where} returned {type(batches).__name__}; expected an iterable of batches, "
            "such as a DataLoader gives"
        )
    try:
        pairs = [_pair(batch, where) for batch in _with_progress(batches)]
    except AgfedgeError:
        raise
    except Exception as error:
        raise InputError(f"data factory {where} failed while it was read: {one_line(error)}") from error
    if not pairs:
        raise InputError(f"data factory {where} gave no batches")
    return _concatenated(pairs, where)


def _with_progress(batches: Iterable[object]) -> Iterable[object]:
    from tqdm import tqdm

    progress: Iterable[object] = tqdm(batches, "reading batches", disable=None, delay=1, leave=False, unit="batch")
    return progress


def _pair(batch: object, where: str) -> tuple[NDArray[np.generic], NDArray[np.generic]]:
    if not isinstance(batch, (tuple, list)) or len(batch) != 2:
        raise InputError(f"data factory {where} gave a {type(batch).__name__}; expected batches (x, y)")
    x, y = _array(batch[0]), _array(batch[1])
    if y.ndim == 0:
        raise InputError(f"data factory {where} gave a single sample; expected batches (x, y): wrap it in a DataLoader")
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
                f"data factory {where} gave batches of {first.dtype} {first.shape} and {x.dtype} {x.shape}; "
                "expected one dtype and one shape"
            )
    return checked(np.concatenate([x for x, _ in pairs]), np.concatenate([y for _, y in pairs]), where)
