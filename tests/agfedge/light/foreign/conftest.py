"""Saves small networks of another origin."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import onnx.parser
import pytest

from foreign_graph import foreign_graph

Saved = Callable[..., Path]


@pytest.fixture
def saved(tmp_path: Path) -> Saved:
    def save(model: onnx.ModelProto | None = None, name: str = "other.onnx", **options: object) -> Path:
        onnx.save(foreign_graph(**options) if model is None else model, tmp_path / name)
        return tmp_path / name

    return save
