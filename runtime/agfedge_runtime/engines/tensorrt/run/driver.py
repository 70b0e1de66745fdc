"""The CUDA driver library, for what pycuda does not wrap: CUDA graphs, and the stack of contexts.

Signatures from cuda.h. ``cuGraphInstantiateWithFlags`` is there from CUDA 11.4 on, which JetPack 5.1 has.
"""

from __future__ import annotations

import contextlib
import ctypes
from typing import Any, Callable

from agfedge_runtime.errors import BackendError

# cuda.h: CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: what other threads do does not break a capture.
_THREAD_LOCAL = 1
_HANDLE = ctypes.c_void_p
_SIGNATURES = {
    "cuStreamBeginCapture_v2": (_HANDLE, ctypes.c_int),
    "cuStreamEndCapture": (_HANDLE, ctypes.POINTER(_HANDLE)),
    "cuGraphInstantiateWithFlags": (ctypes.POINTER(_HANDLE), _HANDLE, ctypes.c_ulonglong),
    "cuGraphLaunch": (_HANDLE, _HANDLE),
    "cuGraphDestroy": (_HANDLE,),
    "cuGraphExecDestroy": (_HANDLE,),
    "cuGetErrorName": (ctypes.c_int, ctypes.POINTER(ctypes.c_char_p)),
}


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


class CaptureError(Exception):
    """Work could not be captured; it can still be submitted piece by piece."""


class GraphCapture:
    """Captures what is submitted to one stream.

    Args:
        stream: its handle.
    """

    def __init__(self, stream: int) -> None:
        self._stream = _HANDLE(stream)
        self._driver: Any = None

    def capture(self, submit: Callable[[], None]) -> CapturedGraph:
        """Record what `submit` submits, without running it; the stream is idle.

        Raises:
            CaptureError: the driver library has no graphs, or the work cannot be captured. The stream is usable.
        """
        library = self._opened()
        self._check("cuStreamBeginCapture_v2", library.cuStreamBeginCapture_v2(self._stream, _THREAD_LOCAL))
        graph = _HANDLE()
        failure: Exception | None = None
        try:
            submit()
        except Exception as error:  # Whatever it is, the capture must end before anything else uses the stream.
            failure = error
        code = library.cuStreamEndCapture(self._stream, ctypes.byref(graph))
        if failure is not None or code != 0 or not graph.value:
            if code == 0 and graph.value:
                library.cuGraphDestroy(graph)
            reason = str(failure) if failure is not None else self._name(code)
            raise CaptureError(f"the work cannot be captured: {reason}") from failure
        return self._instantiated(graph)

    def _instantiated(self, graph: ctypes.c_void_p) -> CapturedGraph:
        executable = _HANDLE()
        code = self._driver.cuGraphInstantiateWithFlags(ctypes.byref(executable), graph, 0)
        self._driver.cuGraphDestroy(graph)
        self._check("cuGraphInstantiateWithFlags", code)
        return CapturedGraph(self, self._driver, executable, self._stream)

    def _opened(self) -> Any:
        if self._driver is None:
            try:
                library = load_driver()
                for name, arguments in _SIGNATURES.items():
                    function = getattr(library, name)
                    function.argtypes, function.restype = arguments, ctypes.c_int
            except (OSError, AttributeError) as error:
                raise CaptureError(f"the driver library has no graphs: {error}") from error
            self._driver = library
        return self._driver

    def _check(self, function: str, code: int) -> None:
        if code != 0:
            raise CaptureError(f"{function} failed: {self._name(code)}")

    def _name(self, code: int) -> str:
        text = ctypes.c_char_p()
        self._driver.cuGetErrorName(code, ctypes.byref(text))
        return text.value.decode("ascii", "replace") if text.value else f"CUDA error {code}"

    def launch_error(self, code: int) -> BackendError:
        """What a failed launch is told as."""
        return BackendError(f"CUDA failed: cuGraphLaunch failed: {self._name(code)}; start the program again")


class CapturedGraph:
    """Work that is submitted by one call."""

    def __init__(self, graphs: GraphCapture, driver: Any, executable: ctypes.c_void_p, stream: ctypes.c_void_p) -> None:
        self._graphs, self._driver, self._executable, self._stream = graphs, driver, executable, stream

    def launch(self) -> None:
        """Submit it.

        Raises:
            BackendError: the driver refused.
        """
        code = self._driver.cuGraphLaunch(self._executable, self._stream)
        if code != 0:
            raise self._graphs.launch_error(code)

    def close(self) -> None:
        """Give it back; safe to call twice. It is not under way."""
        if self._executable.value:
            self._driver.cuGraphExecDestroy(self._executable)
            self._executable = _HANDLE()
