"""The families' graphs, which several files of tests share."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from gallery import Gallery


@pytest.fixture(scope="session")
def gallery() -> Iterator[Gallery]:
    from gallery import Gallery

    with tempfile.TemporaryDirectory() as folder:  # pytest would keep it for three runs
        yield Gallery(Path(folder))
