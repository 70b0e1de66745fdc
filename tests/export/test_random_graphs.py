"""Removed equals masked on graphs that nobody wrote by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from pruning import prune_share
from random_graphs import grow_graph


@pytest.mark.parametrize("seed", range(60))
def test_removed_equals_masked(seed: int) -> None:
    random = np.random.default_rng(seed)

    def choose(options: Sequence[Any]) -> Any:
        return list(options)[int(random.integers(len(options)))]

    prune_share(grow_graph(choose), 0.5, seed)
