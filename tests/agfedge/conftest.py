"""A tiny bundle with real graphs and golden answers."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import tiny
from agfedge_runtime import Bundle


@pytest.fixture(scope="session")
def write_tiny_bundle() -> Callable[..., Bundle]:
    """Writes a bundle; another ``confidence`` makes another one, ``wrong`` gives it false golden answers."""
    return tiny.write_tiny_bundle
