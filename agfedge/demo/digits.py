"""Real images for a demo that downloads nothing: the handwritten digits that scikit-learn carries.

Source: E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository,
1998, doi:10.24432/C50P49 (CC BY 4.0); scikit-learn has its 1,797 test images of 8x8 pixels, values 0 to 16.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agfedge.data.dataset import stratified
from agfedge_runtime.atomic import staging_folder
from agfedge_runtime.errors import MissingPackageError

SIZES = {"train": 750, "calibration": 550, "test": 497}
README = "README.txt"
ABOUT = """\
Optical Recognition of Handwritten Digits (E. Alpaydin, C. Kaynak, 1998, doi:10.24432/C50P49, CC BY 4.0),
the 1,797 images that scikit-learn carries, as 8x8 greyscale PNG files (value * 255 // 16), divided by agfedge
into train, calibration and test with seed {seed}.
"""


def write_digits(folder: Path, seed: int = 0) -> None:
    """Write the digits as ``folder/{train,calibration,test}/{0..9}/NNNN.png``, whole or not at all.

    Each digit is spread evenly over the parts of 750, 550 and 497 images. A folder that this function wrote
    before is replaced.

    Args:
        folder: Where to write; need not exist.
        seed: Of the division.

    Raises:
        MissingPackageError: scikit-learn is not installed.
        InputError: ``folder`` holds something else, or cannot be written.
    """
    images, labels = _load()
    with staging_folder(folder, marker=README) as staging:
        parts = stratified(labels, list(SIZES.values()), seed)
        for part, rows in zip(SIZES, parts, strict=True):
            _write_part(staging / part, images, labels, rows)
        (staging / README).write_text(ABOUT.format(seed=seed), encoding="utf-8")


def _load() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise MissingPackageError(
            "the demo's images come with scikit-learn, which is missing; run: pip install scikit-learn"
        ) from error
    digits = load_digits()
    images = digits.images.astype(np.int64) * 255 // 16
    return images.astype(np.uint8), digits.target.astype(np.int64)


def _write_part(folder: Path, images: NDArray[np.uint8], labels: NDArray[np.int64], rows: NDArray[np.intp]) -> None:
    from PIL import Image

    for label in np.unique(labels):
        (folder / str(label)).mkdir(parents=True)
    for row in rows:
        Image.fromarray(images[row]).save(folder / str(labels[row]) / f"{row:04}.png")
