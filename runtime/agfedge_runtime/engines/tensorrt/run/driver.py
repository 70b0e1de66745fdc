"""The CUDA driver library, for what pycuda does not wrap."""

from __future__ import annotations

import contextlib
import ctypes
from typing import Any


def load_driver() -> Any:
    """The driver library, of which every Jetson and every workstation with a driver has one.

    Raises:
        OSError: there is none.
    """
    return ctypes.CDLL("libcuda.so.1")


def pop_context() -> None:
    """Take the current context off the driver's stack of this thread, where there is one."""
    with contextlib.suppress(OSError, AttributeError):
        load_driver().cuCtxPopCurrent_v2(ctypes.byref(ctypes.c_void_p()))
