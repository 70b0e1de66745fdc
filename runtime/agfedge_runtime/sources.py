"""Where inputs come from: arrays in .npy and .npz files, and images where Pillow is installed, one after the other."""

from __future__ import annotations

import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator

import numpy as np

from agfedge_runtime.arrays import AnyArray
from agfedge_runtime.errors import InputError, MissingPackageError
from agfedge_runtime.manifest_layout import InputSpec

ARRAYS = (".npy", ".npz")
IMAGES = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
# What NumPy raises for a file that is no .npz, or holds pickles, or has no such array.
_UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile)


@dataclass(frozen=True, eq=False)
class Item:
    """One input.

    Attributes:
        source: the file that it is from.
        row: its place in that file, 0 for an image.
        x: a batch of one, (1, ...).
    """

    source: Path
    row: int
    x: AnyArray


def load_inputs(path: Path) -> AnyArray:
    """Read the array x of an .npz file.

    Raises:
        InputError: it cannot be read, or has no such array.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            x: AnyArray = arrays["x"]
    except _UNREADABLE as error:
        raise InputError(f"{path}: cannot be read: {error}; expected an .npz file with an array x") from error
    return x


def find_files(folder: Path) -> list[Path]:
    """List the images and arrays of a folder and of those below it, sorted; hidden ones are passed over.

    Raises:
        InputError: it is no folder, or holds none.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: is no folder; expected one that holds images, .npy or .npz files")
    found = []
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        kept = (name for name in sorted(names) if not name.startswith("."))
        found += [Path(place, name) for name in kept if name.lower().endswith((*ARRAYS, *IMAGES))]
    if not found:
        raise InputError(f"{folder}: holds no input; expected images ({', '.join(IMAGES)}), .npy or .npz files")
    return found


def read_items(path: Path, spec: InputSpec) -> Iterator[Item]:
    """Read a file's inputs.

    Args:
        path: an image, an .npy file with one input or a batch (N, ...), or an .npz file with such an array x.
        spec: what the bundle takes.

    Raises:
        InputError: the file cannot be read, or an image does not fit.
        MissingPackageError: it is an image, and Pillow is not installed.
    """
    if not path.name.lower().endswith(ARRAYS):
        yield Item(path, 0, _image(path, spec)[np.newaxis])
        return
    x = load_inputs(path) if path.name.lower().endswith(".npz") else _array(path)
    rows = x[np.newaxis] if x.shape == spec.row_shape else x
    if rows.shape[1:] != spec.row_shape or rows.dtype != spec.dtype or len(rows) == 0:
        raise InputError(f"{path}: got {x.dtype} {x.shape}, expected {spec.dtype} (N, {_sizes(spec.row_shape)})")
    for row in range(len(rows)):
        yield Item(path, row, np.ascontiguousarray(rows[row : row + 1]))


def _array(path: Path) -> AnyArray:
    try:
        x = np.load(path, allow_pickle=False)
        if isinstance(x, np.ndarray):
            return x
    except _UNREADABLE as error:
        raise InputError(f"{path}: cannot be read: {error}; expected an .npy file") from error
    x.close()
    raise InputError(f"{path}: is an archive; expected a single array, or call it .npz")


def _image(path: Path, spec: InputSpec) -> AnyArray:
    height, width, channels = _image_shape(path, spec)
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingPackageError(
            f"{path}: images need Pillow, which is not installed: pip install pillow; .npy and .npz files need nothing"
        ) from error
    try:
        with Image.open(path) as image:
            if image.mode == "F" or image.mode.startswith("I"):
                raise InputError(f"{path}: has more than 8 bits a channel (mode {image.mode}); convert it to 8")
            pixels: AnyArray = np.asarray(image.convert("L" if channels == 1 else "RGB"), np.uint8)
    except InputError:
        raise
    except Exception as error:  # decoders raise whatever broken bytes lead them to
        told = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path}: cannot be read as an image: {told}") from error
    if pixels.shape[:2] != (height, width):
        got = f"{pixels.shape[1]}x{pixels.shape[0]}"
        raise InputError(f"{path}: is {got}, expected {width}x{height} (width x height); resize it")
    pixels = pixels.reshape(height, width, channels)
    return pixels if spec.layout == "NHWC" else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _image_shape(path: Path, spec: InputSpec) -> tuple[int, int, int]:
    """Height, width and channels of the images that the bundle takes."""
    shape = spec.row_shape
    if spec.dtype == "uint8" and len(shape) == 3 and spec.layout in ("NHWC", "NCHW"):
        height, width, channels = shape if spec.layout == "NHWC" else (*shape[1:], shape[0])
        if channels in (1, 3):
            return height, width, channels
    raise InputError(
        f"{path}: this bundle takes {spec.dtype} ({_sizes(shape)}) in layout {spec.layout}, which no image file has; "
        "give .npy or .npz files"
    )


def _sizes(shape: tuple[int, ...]) -> str:
    return ", ".join(map(str, shape))
