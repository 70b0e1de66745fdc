"""TensorRT's timing cache between builds: what it measured once it need not measure again.

The file holds the sha256 of the cache before the cache, since TensorRT reads it in native code: what is damaged is
not handed over. Its name is of the library, its version and the device. TensorRT checks these as well.
"""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

from agfedge_runtime.atomic import write_bytes
from agfedge_runtime.engines.tensorrt.build.bindings import BuilderConfig
from agfedge_runtime.engines.tensorrt.build.device import Device
from agfedge_runtime.engines.tensorrt.build.library import Library

_log = logging.getLogger(__name__)
_DIGEST_BYTES = 32


def timing_path(folder: Path, library: Library, device: Device) -> Path | None:
    """Where the cache for a library on a device lies; None where there is none.

    TensorRT-RTX times nothing while it builds, and a cache makes it ask for a GPU.
    """
    if library.name == "tensorrt_rtx":
        return None
    parts = (library.name, library.full_version, device.gpu, device.compute_capability, device.multiprocessors)
    described = "\n".join(map(str, (*parts, device.module, device.l4t)))
    return folder / f"timing-{hashlib.sha256(described.encode('utf-8')).hexdigest()[:32]}.cache"


def use_timing_cache(library: Library, config: BuilderConfig, path: Path) -> None:
    """Give a builder the cache of earlier builds, or an empty one where it is missing, damaged or of another version.

    Args:
        library: the TensorRT to use.
        config: of the build.
        path: the cache's file.
    """
    kept = _read(path)
    if kept and _set(config, kept):
        return
    if kept:
        _log.info("%s does not fit %s: it is measured anew", path, library.title)
        library.logger.clear()
    _set(config, b"")


def keep_timing_cache(config: BuilderConfig, path: Path) -> None:
    """Write what a build measured.

    Raises:
        InputError: the file cannot be written.
    """
    cache = config.get_timing_cache()
    data = b"" if cache is None else bytes(cache.serialize())
    if data:
        write_bytes(path, hashlib.sha256(data).digest() + data)


def _set(config: BuilderConfig, data: bytes) -> bool:
    try:
        cache = config.create_timing_cache(data)
        return cache is not None and bool(config.set_timing_cache(cache, False))
    except (TypeError, RuntimeError):  # What a null pointer becomes in Python.
        return False


def _read(path: Path) -> bytes:
    try:
        found = path.read_bytes()
    except OSError:
        return b""
    digest, data = found[:_DIGEST_BYTES], found[_DIGEST_BYTES:]
    if hashlib.sha256(data).digest() == digest:
        return data
    _log.warning("%s is damaged: it is measured anew", path)
    return b""
