"""Where inputs come from: folders of arrays and images, videos, cameras; one input after the other."""

from __future__ import annotations

import contextlib
import os
import stat
import zipfile
from pathlib import Path
from typing import ContextManager, Iterator

import numpy as np

from agfedge_runtime.arrays import AnyArray
from agfedge_runtime.bundle.layout import InputSpec
from agfedge_runtime.errors import InputError, MissingPackageError, one_line
from agfedge_runtime.stream.items import Item, is_number, is_pipeline, laid_out, pixels_shape, sizes

ARRAYS = (".npy", ".npz")
IMAGES = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
# What NumPy raises for a file that is no .npz, or holds pickles, or has no such array.
_UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile)


def open_source(source: str, spec: InputSpec) -> ContextManager[Iterator[Item]]:
    """Open a source of inputs; leaving the block gives it back.

    Args:
        source: a folder, a file of arrays or an image, a video, or a camera by its number, its device file, or
            a pipeline of GStreamer that ends in ``appsink``.
        spec: what the bundle takes.

    Returns:
        A context manager around its inputs, in their order; they end with a folder or video, never with a camera.

    Raises:
        InputError: there is no such source, it cannot be read, or it does not fit; or later, that of an input.
        MissingPackageError: a video or camera is to be read without OpenCV, or (later) an image without Pillow.
    """
    if is_camera(source):
        from agfedge_runtime.stream.video import open_camera

        return open_camera(source, spec)
    path = Path(source)
    if path.is_dir():
        return contextlib.nullcontext(_inputs(path, find_files(path), spec))
    if path.name.lower().endswith((*ARRAYS, *IMAGES)):
        return contextlib.nullcontext(_inputs(path.parent, [path], spec))
    if not path.is_file():
        raise InputError(
            f"{source}: is no folder, video or camera; expected a path that is there, or a camera's number"
        )
    from agfedge_runtime.stream.video import open_video

    return open_video(path, spec)


def is_camera(source: str) -> bool:
    """Whether a source is a camera: a number, a device file, or a pipeline. ``./0`` is a folder of that name."""
    if is_number(source):
        return True
    try:
        return stat.S_ISCHR(os.stat(source).st_mode)
    except (OSError, ValueError):
        return source.startswith("/dev/") or is_pipeline(source)


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
        InputError: it holds none.
    """
    found = []
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        kept = (name for name in sorted(names) if not name.startswith("."))
        found += [Path(place, name) for name in kept if name.lower().endswith((*ARRAYS, *IMAGES))]
    if not found:
        raise InputError(
            f"{folder}: holds no input; expected images ({', '.join(IMAGES)}), .npy or .npz files; a video is given "
            "by itself"
        )
    return found


def read_items(path: Path, spec: InputSpec, name: str = "") -> Iterator[Item]:
    """Read a file's inputs.

    Args:
        path: an image, an .npy file with one input or a batch (N, ...), or an .npz file with such an array x.
        spec: what the bundle takes.
        name: what the items say they are from; by default the path.

    Raises:
        InputError: the file cannot be read, or an image does not fit.
        MissingPackageError: it is an image, and Pillow is not installed.
    """
    name = name or str(path)
    if not path.name.lower().endswith(ARRAYS):
        yield Item(name, 0, _image(path, spec)[np.newaxis])
        return
    x = load_inputs(path) if path.name.lower().endswith(".npz") else _array(path)
    rows = x[np.newaxis] if x.shape == spec.row_shape else x
    if rows.shape[1:] != spec.row_shape or rows.dtype != spec.dtype or len(rows) == 0:
        raise InputError(f"{path}: got {x.dtype} {x.shape}, expected {spec.dtype} (N, {sizes(spec.row_shape)})")
    for row in range(len(rows)):
        yield Item(name, row, np.ascontiguousarray(rows[row : row + 1]))


def _inputs(folder: Path, files: list[Path], spec: InputSpec) -> Iterator[Item]:
    for path in files:
        yield from read_items(path, spec, path.relative_to(folder).as_posix())


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
    height, width, channels = pixels_shape(path, spec)
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
        raise InputError(f"{path}: cannot be read as an image: {one_line(error)}") from error
    if pixels.shape[:2] != (height, width):
        got = f"{pixels.shape[1]}x{pixels.shape[0]}"
        raise InputError(f"{path}: is {got}, expected {width}x{height} (width x height); resize it")
    return laid_out(pixels.reshape(height, width, channels), spec)
