"""One input of a source, and how pixels become one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from agfedge_runtime.arrays import AnyArray
from agfedge_runtime.bundle.layout import InputSpec
from agfedge_runtime.errors import InputError


@dataclass(frozen=True, eq=False)
class Item:
    """One input.

    Attributes:
        source: what it is from: a file, by its path below the folder that was given, or a camera.
        row: its place there, 0 for an image; of a camera, how many frames came before it, those passed over among them.
        x: a batch of one, (1, ...).
    """

    source: str
    row: int
    x: AnyArray


def is_number(source: str) -> bool:
    """Whether a source is a camera by its number; no machine has a thousand."""
    return re.fullmatch("[0-9]{1,3}", source) is not None


def is_pipeline(source: str) -> bool:
    """Whether a source reads like a pipeline of GStreamer, such as a CSI camera needs."""
    return " ! " in source


def pixels_shape(source: str | Path, spec: InputSpec) -> tuple[int, int, int]:
    """Height, width and channels of the images that the bundle takes.

    Args:
        source: named where it takes none.
        spec: what the bundle takes.

    Raises:
        InputError: it takes something else than images of 8 bits with 1 or 3 channels.
    """
    shape = spec.row_shape
    if spec.dtype == "uint8" and len(shape) == 3 and spec.layout in ("NHWC", "NCHW"):
        height, width, channels = shape if spec.layout == "NHWC" else (*shape[1:], shape[0])
        if channels in (1, 3):
            return height, width, channels
    raise InputError(
        f"{source}: this bundle takes {spec.dtype} ({sizes(shape)}) in layout {spec.layout}, which no image file or "
        "camera has; give .npy or .npz files"
    )


def laid_out(pixels: AnyArray, spec: InputSpec) -> AnyArray:
    """An image (H, W, C) in the layout that the bundle takes, contiguous."""
    return np.ascontiguousarray(pixels if spec.layout == "NHWC" else pixels.transpose(2, 0, 1))


def sizes(shape: tuple[int, ...]) -> str:
    """A shape in words."""
    return ", ".join(map(str, shape))
