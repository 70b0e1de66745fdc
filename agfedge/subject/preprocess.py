"""Inputs as the model was trained on them: the same arithmetic as the nodes in front of the exported graphs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agfedge_runtime.bundle.layout import Preprocessing
from agfedge_runtime.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray


def preprocessing_for(
    x: NDArray[np.generic], mean: tuple[float, ...] | None = None, std: tuple[float, ...] | None = None
) -> Preprocessing:
    """Chooses the preprocessing of a data set.

    Args:
        x: uint8 (N, H, W, C) bytes, scaled by 1/255, or float32 (N, ...), taken as they are.
        mean: subtracted after scaling; one number, or one a channel.
        std: divided by after that.

    Raises:
        InputError: as many numbers as neither one nor the channels, or a std that is not above zero.
    """
    image = x.dtype == np.uint8
    channels = x.shape[-1] if image else x.shape[1]
    for name, values in (("--mean", mean), ("--std", std)):
        if values is not None and len(values) not in (1, channels):
            either = "1" if channels == 1 else f"1 or {channels}, one for each channel"
            raise InputError(f"{name} has {len(values)} numbers: expected {either}")
    if std is not None and min(std) <= 0:
        raise InputError(f"--std holds {min(std)}: expected numbers above zero")
    return Preprocessing(image, 1 / 255 if image else 1.0, mean or (0.0,), std or (1.0,))


def model_input(x: NDArray[np.generic], preprocessing: Preprocessing) -> NDArray[np.float32]:
    """Turns raw inputs into what the module takes: float32, images as (N, C, H, W)."""
    values = x.astype(np.float32)
    if preprocessing.image:
        values = values.transpose(0, 3, 1, 2)
    if preprocessing.trivial:
        return values
    shape = (1, -1, *[1] * (values.ndim - 2))
    std = np.asarray(preprocessing.std, dtype=np.float64)
    factor = (preprocessing.scale / std).astype(np.float32).reshape(shape)
    shift = (-np.asarray(preprocessing.mean, dtype=np.float64) / std).astype(np.float32).reshape(shape)
    return np.ascontiguousarray(values * factor + shift)
