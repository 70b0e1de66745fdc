"""Golden answers are recorded where a bundle is made and reproduced where it runs."""

from __future__ import annotations

import dataclasses
import io
import zipfile

import numpy as np
import pytest

from agfedge_runtime import Cascade
from agfedge_runtime.bundle.golden import Golden, golden_bytes, load_golden
from agfedge_runtime.cascade.verify import GoldenReport, record_golden, verify_golden
from agfedge_runtime.errors import BundleGoldenError, BundleMissingFileError, InputError


@pytest.fixture
def golden(tiny) -> Golden:
    return record_golden(tiny.cascade(), tiny.mixed())


def npz(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def test_golden_answers_come_back_as_they_were(tiny, golden):
    loaded = load_golden(tiny.bundle(extra={"golden.npz": golden_bytes(golden)}))
    for field in dataclasses.fields(Golden):
        before, after = getattr(golden, field.name), getattr(loaded, field.name)
        assert after.dtype == before.dtype
        np.testing.assert_array_equal(after, before)


def test_the_same_answers_make_the_same_bytes(golden):
    copied = Golden(**{field.name: getattr(golden, field.name).copy() for field in dataclasses.fields(Golden)})
    assert golden_bytes(copied) == golden_bytes(golden)


def test_numpy_reads_the_file(golden):
    with np.load(io.BytesIO(golden_bytes(golden)), allow_pickle=False) as arrays:
        np.testing.assert_array_equal(arrays["inputs"], golden.inputs)


def test_a_file_that_numpy_wrote_is_read(tiny, golden):
    written = npz(**{field.name: getattr(golden, field.name) for field in dataclasses.fields(Golden)})
    loaded = load_golden(tiny.bundle(extra={"golden.npz": written}))
    np.testing.assert_array_equal(loaded.labels, golden.labels)


def test_a_bundle_reproduces_its_own_answers(tiny):
    bundle = tiny.golden_bundle()
    with Cascade.open(bundle) as cascade:
        report = verify_golden(cascade, load_golden(bundle))
    assert report == GoldenReport(6, 6, 6, 0.0, True)


@pytest.mark.parametrize(
    ("name", "change", "expected"),
    [
        ("labels", 1, GoldenReport(6, 5, 6, 0.0, False)),
        ("branches", 1, GoldenReport(6, 6, 5, 0.0, False)),
        # The first probability is 1, and these are exact in float32.
        ("probabilities", -0.5, GoldenReport(6, 6, 6, 0.5, False)),
        ("probabilities", -(2**-14), GoldenReport(6, 6, 6, 2**-14, True)),
    ],
)
def test_another_answer_is_noticed(tiny, golden, name, change, expected):
    odd = getattr(golden, name).copy()
    odd.reshape(-1)[0] += change
    assert verify_golden(tiny.cascade(), dataclasses.replace(golden, **{name: odd})) == expected


def test_inputs_that_do_not_fit_are_not_recorded(tiny):
    with pytest.raises(InputError, match="expected uint8"):
        record_golden(tiny.cascade(), tiny.mixed().astype(np.float32))


def test_a_bundle_without_golden_answers_says_so(tiny):
    with pytest.raises(BundleMissingFileError, match=r"golden\.npz"):
        load_golden(tiny.bundle())


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("inputs", np.zeros((6, 2, 2, 1), np.float32), "inputs: got float32"),
        ("inputs", np.zeros((6, 4), np.uint8), r"inputs: got uint8 \(6, 4\)"),
        ("labels", np.zeros(6, np.int32), "labels: got int32"),
        ("labels", np.zeros(0, np.int64), "no answers"),
        ("probabilities", np.zeros((6, 3), np.float32), r"expected float32 \(6, 2\)"),
        ("branches", np.zeros(5, np.uint8), r"branches: got uint8 \(5,\)"),
        ("prior", np.array([None] * 6), "prior says object"),
    ],
)
def test_malformed_arrays_are_refused(tiny, golden, name, value, message):
    arrays = {field.name: getattr(golden, field.name) for field in dataclasses.fields(Golden)}
    bundle = tiny.bundle(extra={"golden.npz": npz(**{**arrays, name: value})})
    with pytest.raises(BundleGoldenError, match=message):
        load_golden(bundle)


def test_a_missing_array_is_refused(tiny, golden):
    bundle = tiny.bundle(extra={"golden.npz": npz(inputs=golden.inputs)})
    with pytest.raises(BundleGoldenError, match="labels"):
        load_golden(bundle)


def test_what_is_no_archive_is_refused(tiny):
    with pytest.raises(BundleGoldenError, match="cannot be read"):
        load_golden(tiny.bundle(extra={"golden.npz": b"not a zip file"}))


def test_a_header_that_promises_more_than_the_file_holds_is_refused(tiny, golden):
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(golden_bytes(golden))) as source, zipfile.ZipFile(buffer, "w") as target:
        for name in source.namelist():
            data = source.read(name)
            target.writestr(name, data.replace(b"(6,), }" + 9 * b" ", b"(6000000000,), }"))
    with pytest.raises(BundleGoldenError, match=r"int64 \(6000000000,\), which does not fit"):
        load_golden(tiny.bundle(extra={"golden.npz": buffer.getvalue()}))
