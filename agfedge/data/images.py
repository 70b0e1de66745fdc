"""Read an ImageFolder-style directory: class folders that hold images, perhaps under train/ and test/."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from agfedge.base.factory import one_line
from agfedge.base.progress import bar
from agfedge.data.arrays import Arrays, Source
from agfedge_runtime.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image

# torchvision's IMG_EXTENSIONS: the same files count as images here as there.
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp"})
CALIBRATION_FOLDERS = ("calibration", "val", "valid", "validation")
# Pillow releases the interpreter's lock while it decodes.
THREADS = 2

Files = tuple[tuple[Path, int], ...]
T = TypeVar("T")


def read_folder(folder: Path, classes: Sequence[str] | None = None) -> Source:
    """List a directory of class folders and read every image's header; pixels are read part by part.

    Classes are the sorted folder names, as torchvision's ImageFolder has them. Every image is greyscale
    (C = 1), or all are read as RGB (C = 3). Hidden files and folders are passed over.

    Args:
        folder: ``DIR/CLASS/...``, or ``DIR/train/CLASS/...`` with ``DIR/test`` and perhaps
            ``DIR/calibration`` (or ``val``, ``valid``, ``validation``).
        classes: Names that the labels must index; None takes them from the folders.

    Raises:
        InputError: No class folders, one class only, a class without images, classes that differ between the
            parts or from ``classes``, images of mixed sizes, 16-bit images, or a file that is not an image.
    """
    folders_of = {part: _class_folders(place) for part, place in _part_folders(folder).items()}
    names = tuple(classes) if classes is not None else _common_classes(folder, folders_of)
    files = {part: _labelled_files(folders, names, folder) for part, folders in folders_of.items()}
    height, width, channels = _common_shape([path for each in files.values() for path, _ in each])
    shape = (height, width, channels)
    return Source(str(folder), names, {part: partial(_read, each, shape) for part, each in files.items()})


def _part_folders(folder: Path) -> dict[str, Path]:
    if not _is_divided(folder):
        return {"all": folder}
    held = next((folder / name for name in CALIBRATION_FOLDERS if (folder / name).is_dir()), None)
    parts = {"train": folder / "train", "calibration": held, "test": folder / "test"}
    return {part: place for part, place in parts.items() if place is not None and place.is_dir()}


def _is_divided(folder: Path) -> bool:
    # A class may be called "train": then its folder holds images, not folders.
    train = folder / "train"
    return train.is_dir() and any(each.is_dir() for each in _visible(train))


def _visible(folder: Path) -> list[Path]:
    return sorted(each for each in folder.iterdir() if not each.name.startswith("."))


def _class_folders(folder: Path) -> dict[str, list[Path]]:
    folders = {each.name: list(_images(each)) for each in _visible(folder) if each.is_dir()}
    if not folders:
        raise InputError(f"{folder} holds no class folders; expected {folder.name}/CLASS/*.png (or jpg, ...)")
    if not any(folders.values()):
        raise InputError(f"{folder} holds no images; expected {folder.name}/CLASS/*.png (or jpg, ...)")
    for name, files in folders.items():
        if not files:
            raise InputError(f"class folder {folder / name} holds no images; remove it or fill it")
    return folders


def _images(folder: Path) -> Iterator[Path]:
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in SUFFIXES:
                yield Path(root, name)


def _common_classes(folder: Path, folders_of: Mapping[str, Mapping[str, object]]) -> tuple[str, ...]:
    first, *others = folders_of
    for other in others:
        for one, two in ((first, other), (other, first)):
            missing = sorted(folders_of[one].keys() - folders_of[two].keys())
            if missing:
                raise InputError(f"{folder}: class {missing[0]!r} is in {one} but not in {two}; expected the same")
    names = tuple(sorted(folders_of[first]))
    if len(names) < 2:
        raise InputError(f"{folder} holds one class only ({names[0]!r}); expected two or more class folders")
    return names


def _labelled_files(folders: Mapping[str, Sequence[Path]], names: Sequence[str], folder: Path) -> Files:
    unknown = sorted(folders.keys() - set(names))
    if unknown:
        raise InputError(f"{folder}: class folder {unknown[0]!r} is none of the {len(names)} known classes")
    return tuple((path, label) for label, name in enumerate(names) for path in folders.get(name, ()))


def _common_shape(paths: Sequence[Path]) -> tuple[int, int, int]:
    with _in_threads(_header, paths, "reading headers") as headers:
        (width, height), greyscale = next(headers)
        for path, (size, is_greyscale) in zip(paths[1:], headers, strict=True):
            greyscale = greyscale and is_greyscale
            if size != (width, height):
                raise InputError(
                    f"images of mixed sizes: {paths[0]} is {width}x{height} and {path} is "
                    f"{size[0]}x{size[1]}; resize them to one size"
                )
    return height, width, 1 if greyscale else 3


def _header(path: Path) -> tuple[tuple[int, int], bool]:
    def read(image: Image) -> tuple[tuple[int, int], bool]:
        if image.mode == "F" or image.mode.startswith("I"):
            raise InputError(f"{path} has more than 8 bits a channel (mode {image.mode}); convert it to 8")
        return image.size, image.mode in ("L", "1")

    return _with_image(path, read)


def _read(files: Files, shape: tuple[int, int, int]) -> Arrays:
    height, width, channels = shape
    x = np.empty((len(files), height, width, channels), np.uint8)

    def decode(image: Image) -> NDArray[np.uint8]:
        return np.asarray(image.convert("L" if channels == 1 else "RGB"), np.uint8)

    paths = [path for path, _ in files]
    with _in_threads(lambda path: _with_image(path, decode), paths, "reading images") as decoded:
        for row, pixels in zip(x, decoded, strict=True):
            row[...] = pixels.reshape(shape)
    return Arrays(x, np.array([label for _, label in files], np.int64))


def _with_image(path: Path, use: Callable[[Image], T]) -> T:
    from PIL import Image

    try:
        with Image.open(path) as image:
            return use(image)
    except InputError:
        raise
    except Exception as error:  # decoders raise whatever broken bytes lead them to
        raise InputError(f"{path} cannot be read as an image: {one_line(error)}") from error


@contextmanager
def _in_threads(work: Callable[[Path], T], paths: Sequence[Path], title: str) -> Iterator[Iterator[T]]:
    """Give the results in order; on an error or an interrupt what has not begun is dropped."""
    pool = ThreadPoolExecutor(THREADS)
    try:
        results: Iterable[T] = bar(pool.map(work, paths), title=title, unit="image", total=len(paths), delay=1)
        yield iter(results)
    finally:
        pool.shutdown(cancel_futures=True)
