"""Random changes of images that keep their class: mirrored left to right, shifted.

The changes of the CIFAR networks of He et al. (arXiv:1512.03385, section 4.2): four zero pixels on each side of 32, a
random crop of the old size, and its mirror image half of the time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

# Of the side, by which an image moves at most.
SHIFT = 1 / 8


@dataclass(frozen=True)
class Changes:
    """What is done to each image of a batch.

    Attributes:
        mirrored: whether it is mirrored left to right, bool (B,).
        down: by how many pixels the crop starts lower than the padded image, int64 (B,).
        right: likewise to the right.
        border: zero pixels (height, width) on each side before the crop.
    """

    mirrored: NDArray[np.bool_]
    down: NDArray[np.int64]
    right: NDArray[np.int64]
    border: tuple[int, int]

    def take(self, rows: slice) -> Changes:
        """Returns the changes of some of the images."""
        return Changes(self.mirrored[rows], self.down[rows], self.right[rows], self.border)


def draw_changes(augment: str, count: int, height: int, width: int, seed: tuple[int, ...]) -> Changes:
    """Draws changes for `count` images of `height` x `width` pixels; the same seed draws the same."""
    generator = np.random.default_rng(seed)
    mirrored = generator.random(count) < 0.5
    crops = augment == "flip-crop"
    border = (round(height * SHIFT), round(width * SHIFT)) if crops else (0, 0)
    down, right = (generator.integers(0, 2 * each + 1, count) for each in border)
    return Changes(mirrored, down, right, border)


def change(x: torch.Tensor, changes: Changes) -> torch.Tensor:
    """Returns changed images (B, C, H, W), channels last in memory; one gather does it all."""
    import torch

    height, width = x.shape[2:]
    tall, wide = changes.border
    padded = torch.nn.functional.pad(x, (wide, wide, tall, tall)) if tall or wide else x
    columns = np.where(changes.mirrored[:, None], np.arange(width)[::-1], np.arange(width)) + changes.right[:, None]
    rows = np.arange(height) + changes.down[:, None]
    images = torch.arange(len(x))[:, None, None]
    taken = padded[images, :, torch.from_numpy(rows)[:, :, None], torch.from_numpy(columns)[:, None, :]]
    return taken.permute(0, 3, 1, 2)
