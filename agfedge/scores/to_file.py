"""Scores as an `.npz` file, which `agfedge prune --score` reads."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from agfedge_runtime.atomic import write_bytes

if TYPE_CHECKING:
    from agfedge.scores.registry import Scores


def write_scores(path: Path, scores: Mapping[str, Scores]) -> None:
    """Writes scores whole: arrays named after groups, and `score/group` where there are several scores.

    The same scores make the same bytes.

    Raises:
        InputError: the file cannot be written.
    """
    alone = len(scores) == 1
    arrays = {
        group if alone else f"{name}/{group}": values for name, each in scores.items() for group, values in each.items()
    }
    buffer = io.BytesIO()
    # Stamps every array with the earliest time that a zip archive can hold, whatever the clock says.
    np.savez(buffer, **arrays)  # type: ignore[arg-type]  # a keyword may be any name
    write_bytes(path, buffer.getvalue())
