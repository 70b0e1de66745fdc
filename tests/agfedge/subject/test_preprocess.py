"""Inputs as the model was trained on them: by hand, and equal to the nodes in front of the graphs."""

from __future__ import annotations

import numpy as np
import pytest

from agfedge.subject.preprocess import model_input, preprocessing_for
from agfedge_runtime.errors import InputError

BYTES = np.random.default_rng(0).integers(0, 256, (4, 5, 6, 3), np.uint8)
FLOATS = np.random.default_rng(0).standard_normal((4, 3, 5, 6)).astype(np.float32)


def test_bytes_become_planes_from_zero_to_one() -> None:
    found = model_input(BYTES, preprocessing_for(BYTES))
    assert found.dtype == np.float32
    assert found.shape == (4, 3, 5, 6)
    np.testing.assert_allclose(found, BYTES.transpose(0, 3, 1, 2) / 255, atol=1e-7)


def test_mean_and_std_are_taken_channel_by_channel() -> None:
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    found = model_input(BYTES, preprocessing_for(BYTES, mean, std))
    expected = (BYTES / 255 - np.array(mean)) / np.array(std)
    np.testing.assert_allclose(found, expected.transpose(0, 3, 1, 2), atol=1e-6)


def test_one_number_serves_every_channel() -> None:
    one = model_input(BYTES, preprocessing_for(BYTES, (0.5,), (0.25,)))
    three = model_input(BYTES, preprocessing_for(BYTES, (0.5,) * 3, (0.25,) * 3))
    np.testing.assert_array_equal(one, three)


def test_one_mean_goes_with_several_stds() -> None:
    found = model_input(BYTES, preprocessing_for(BYTES, (0.5,), (0.1, 0.2, 0.4)))
    expected = ((BYTES / 255 - 0.5) / np.array([0.1, 0.2, 0.4])).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_floats_pass_as_they_are() -> None:
    how = preprocessing_for(FLOATS)
    assert how.trivial
    np.testing.assert_array_equal(model_input(FLOATS, how), FLOATS)


def test_floats_are_shifted_where_asked() -> None:
    found = model_input(FLOATS, preprocessing_for(FLOATS, (1.0, 2.0, 3.0), (2.0,)))
    np.testing.assert_allclose(found, (FLOATS - np.array([1, 2, 3])[:, None, None]) / 2, atol=1e-6)


@pytest.mark.parametrize("option", ["mean", "std"])
def test_as_many_numbers_as_channels_or_one(option: str) -> None:
    with pytest.raises(InputError, match=f"--{option} has 2 numbers: expected 1 or 3, one for each channel"):
        preprocessing_for(BYTES, **{option: (0.5, 0.5)})


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_a_std_is_above_zero(value: float) -> None:
    with pytest.raises(InputError, match=f"--std holds {value}: expected numbers above zero"):
        preprocessing_for(BYTES, None, (0.5, value, 0.5))
