"""The families' graphs, which several files of tests share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from shared import Shared

if TYPE_CHECKING:
    from gallery import Gallery


@pytest.fixture(scope="session")
def gallery(shared: Shared) -> Gallery:
    from gallery import Gallery

    return Gallery(shared)
