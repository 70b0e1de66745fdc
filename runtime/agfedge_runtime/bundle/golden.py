"""golden.npz: inputs with the answers that every device must reproduce.

The file is a plain .npz without pickles. It is read by hand rather than by ``numpy.load``, so that a header
can never make the reader allocate more than the file holds.
"""

from __future__ import annotations

import io
import math
import zipfile
import zlib
from dataclasses import dataclass

import numpy as np

from agfedge_runtime.arrays import AnyArray, Float32Array, Int64Array, UInt8Array
from agfedge_runtime.bundle.bundle import Bundle
from agfedge_runtime.bundle.manifest import FULL_PRECISION
from agfedge_runtime.errors import BundleGoldenError, BundleSizeError

GOLDEN_NAME = "golden.npz"
MAX_ARRAY_BYTES = 2 * 2**30

_HINT = "export the bundle again"
_DTYPES: dict[str, np.dtype[np.generic]] = {
    "labels": np.dtype(np.int64),
    "probabilities": np.dtype(np.float32),
    "branches": np.dtype(np.uint8),
    "confidence": np.dtype(np.float32),
    "prior": np.dtype(np.float32),
}
# What zipfile and NumPy raise for bytes that are no .npz.
_UNREADABLE = (
    OSError,
    ValueError,
    TypeError,
    KeyError,
    EOFError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
)
# The earliest time that a zip archive can hold: the same answers always make the same bytes.
_TIMESTAMP = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, eq=False)
class Golden:
    """Answers to reproduce.

    Attributes:
        inputs: (N, ...) as the bundle's input says.
        labels: int64 (N,), indices into the classes.
        probabilities: float32 (N, C).
        branches: uint8 (N,), values of `Branch`.
        confidence: float32 (N,); NaN where the light expert did not run.
        prior: float32 (N,); NaN where it was not computed.
    """

    inputs: AnyArray
    labels: Int64Array
    probabilities: Float32Array
    branches: UInt8Array
    confidence: Float32Array
    prior: Float32Array


def golden_bytes(golden: Golden) -> bytes:
    """The bytes of golden.npz: uncompressed, with fixed timestamps, hence the same for the same answers."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in ("inputs", *_DTYPES):
            member = io.BytesIO()
            np.lib.format.write_array(member, np.ascontiguousarray(getattr(golden, name)), allow_pickle=False)
            entry = zipfile.ZipInfo(f"{name}.npy", _TIMESTAMP)
            entry.create_system = 3  # Unix, whatever this machine is.
            archive.writestr(entry, member.getvalue())
    return buffer.getvalue()


def load_golden(bundle: Bundle, precision: str = FULL_PRECISION) -> Golden:
    """Read a bundle's golden answers and check that they fit its manifest.

    Args:
        bundle: that is meant.
        precision: of the graphs that gave the answers.

    Raises:
        InputError: the bundle has no graphs of that precision.
        BundleMissingFileError: the bundle has no golden.npz.
        BundleGoldenError: an array is missing, or of the wrong dtype or shape, or the file is no .npz.
        BundleSizeError: an array of absurd size.
    """
    path = bundle.file(bundle.manifest.in_precision(precision).golden or GOLDEN_NAME)
    try:
        with zipfile.ZipFile(path) as archive:
            arrays = {name: _read(archive, name) for name in ("inputs", *_DTYPES)}
    except _UNREADABLE as error:
        raise BundleGoldenError(f"{path.name}: cannot be read: {error}; {_HINT}") from error
    _check(arrays, bundle)
    return Golden(
        inputs=arrays["inputs"],
        labels=arrays["labels"].astype(np.int64, copy=False),
        probabilities=arrays["probabilities"].astype(np.float32, copy=False),
        branches=arrays["branches"].astype(np.uint8, copy=False),
        confidence=arrays["confidence"].astype(np.float32, copy=False),
        prior=arrays["prior"].astype(np.float32, copy=False),
    )


def _read(archive: zipfile.ZipFile, name: str) -> AnyArray:
    entry = archive.getinfo(f"{name}.npy")
    if entry.file_size > MAX_ARRAY_BYTES:
        raise BundleSizeError(
            f"{GOLDEN_NAME}: {name}: got {entry.file_size} bytes, expected at most {MAX_ARRAY_BYTES}; {_HINT}"
        )
    data = archive.read(entry)
    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    if version != (1, 0):
        raise ValueError(f"{name} has .npy version {version}, expected (1, 0)")
    shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(stream)
    if dtype.hasobject or math.prod(shape) * dtype.itemsize != len(data) - stream.tell():
        raise ValueError(f"{name} says {dtype} {shape}, which does not fit its {len(data)} bytes")
    flat = np.frombuffer(data, dtype, offset=stream.tell())
    return flat.reshape(shape, order="F" if fortran_order else "C")


def _check(arrays: dict[str, AnyArray], bundle: Bundle) -> None:
    count = arrays["labels"].size
    if count == 0:
        raise BundleGoldenError(f"{GOLDEN_NAME}: got no answers, expected at least one; {_HINT}")
    for name, array in arrays.items():
        dtype, row = _expected(name, bundle)
        if array.dtype != dtype or array.shape != (count, *row):
            raise BundleGoldenError(
                f"{GOLDEN_NAME}: {name}: got {array.dtype} {array.shape}, expected {dtype} {(count, *row)}; {_HINT}"
            )


def _expected(name: str, bundle: Bundle) -> tuple[np.dtype[np.generic], tuple[int, ...]]:
    """The dtype of an array and the shape of its rows."""
    spec = bundle.manifest.input
    if name == "inputs":
        return np.dtype(spec.dtype), spec.row_shape
    return _DTYPES[name], (len(bundle.manifest.classes),) if name == "probabilities" else ()
