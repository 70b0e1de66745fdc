"""Where utility lies, and how far two scores would choose alike."""

from __future__ import annotations

import math

import numpy as np
import pytest

from agfedge.light.scoring import agreements, utility_of
from agfedge_export import analyse
from pruning import build

# Groups: w1 (8 channels) and w2 (6).
GROUPS = analyse(
    build(
        "a = Conv(x, w1)  b = Conv(a, w2)  y = Conv(b, w3)",
        {"w1": (8, 3, 1, 1), "w2": (6, 8, 1, 1), "w3": (2, 6, 1, 1)},
    )
)
RISING = {"w1": np.arange(8.0), "w2": np.arange(6.0)}
FALLING = {"w1": -np.arange(8.0), "w2": np.arange(6.0)}


@pytest.mark.parametrize(
    ("values", "share"),
    [([1, 1, 1, 1], 0.5), ([0, 3, 0, 1], 1.0), ([1, 2, 3, 4], 0.7), ([0, 0], math.nan), ([-1, 2], math.nan)],
)
def test_the_better_half_holds_a_share_of_all_utility(values: list[float], share: float) -> None:
    assert utility_of(np.array(values, dtype=float)).upper_half == pytest.approx(share, nan_ok=True)


def test_two_scores_agree_on_the_channels_that_both_would_keep() -> None:
    (found,) = agreements({"up": RISING, "down": FALLING}, GROUPS)
    assert (found.first, found.second) == ("up", "down")
    assert found.shared == pytest.approx(3 / 7)  # none of four in w1, all three in w2
    assert (found.lowest_group, found.lowest_shared) == ("w1", 0)


def test_a_score_agrees_with_itself_on_another_scale() -> None:
    (found,) = agreements({"up": RISING, "double": {name: 2 * each for name, each in RISING.items()}}, GROUPS)
    assert found.shared == found.lowest_shared == 1


def test_every_two_scores_are_compared_and_one_alone_with_none() -> None:
    assert len(agreements({"a": RISING, "b": RISING, "c": RISING}, GROUPS)) == 3
    assert agreements({"a": RISING}, GROUPS) == ()
