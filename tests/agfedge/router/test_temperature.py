"""Temperature scaling finds the temperature that made the labels, and stays sane where there are few."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax

from agfedge.router.confidence import fit_temperature


def labelled(temperature: float, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits whose softmax at `temperature` is the true distribution of the labels."""
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 3, (count, 5))
    chances = softmax(logits / temperature, axis=1).cumsum(axis=1)
    labels = (generator.uniform(size=(count, 1)) > chances).sum(axis=1).clip(0, 4)
    return logits.astype(np.float32), labels.astype(np.int64)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_behind_the_labels_is_found(temperature: float) -> None:
    assert fit_temperature(*labelled(temperature, 20_000)) == pytest.approx(temperature, rel=0.05)


def test_a_few_samples_that_are_all_right_do_not_make_every_confidence_one() -> None:
    labels = np.arange(10, dtype=np.int64)
    logits = (5 * np.eye(10)).astype(np.float32)
    assert 0.4 < fit_temperature(logits, labels) < 1


def test_shifted_logits_have_the_same_temperature() -> None:
    logits, labels = labelled(2.0, 500)
    assert fit_temperature(logits + 100, labels) == pytest.approx(fit_temperature(logits, labels), rel=1e-3)
