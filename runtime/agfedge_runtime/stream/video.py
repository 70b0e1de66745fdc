"""Frames of videos and cameras, through OpenCV, as a bundle takes them."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import sys
import threading
from glob import glob
from pathlib import Path
from time import monotonic
from typing import Any, Iterator

import numpy as np

from agfedge_runtime.arrays import AnyArray
from agfedge_runtime.bundle.layout import InputSpec
from agfedge_runtime.errors import InputError, MissingPackageError
from agfedge_runtime.machine.packages import find_package
from agfedge_runtime.stream.items import Item, is_number, is_pipeline, laid_out, pixels_shape

# A camera may take seconds for its first frame, and drop one now and then.
SILENCE_S = 5.0
# How long the main thread waits before it looks up, since signals reach nobody who waits.
_LOOK_UP_S = 0.2
_RETRY_S = 0.02


@contextlib.contextmanager
def open_video(path: Path, spec: InputSpec) -> Iterator[Iterator[Item]]:
    """Open a video file; all its frames are decided, in their order.

    Raises:
        InputError: it is no video that this OpenCV reads, or the bundle takes no images.
        MissingPackageError: OpenCV is not here.
    """
    frames = _Frames(str(path), spec)
    # An absolute path: OpenCV would take some relative ones for an address or a filter.
    capture = frames.cv2.VideoCapture(os.path.abspath(path))
    try:
        if not capture.isOpened():
            raise InputError(
                f"{path}: cannot be read as a video by OpenCV {frames.cv2.__version__}; convert it to .mp4"
            )
        yield _video(capture, path.name, frames)
    finally:
        capture.release()


@contextlib.contextmanager
def open_camera(source: str, spec: InputSpec) -> Iterator[Iterator[Item]]:
    """Open a camera; each input is its latest frame, and none is decided twice.

    Args:
        source: its number, its device file, or a pipeline.
        spec: what the bundle takes.

    Raises:
        InputError: it cannot be opened, or the bundle takes no images; or later, it gives no frames any more.
        MissingPackageError: OpenCV is not here.
    """
    frames = _Frames(_name(source), spec)
    cv2 = frames.cv2
    capture = cv2.VideoCapture(int(source) if is_number(source) else source, _backend(source, cv2))
    if not capture.isOpened():
        capture.release()
        raise InputError(f"{frames.name}: cannot be opened; {_why_closed(source)}")
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
    latest = _Latest(capture)
    try:
        yield _camera(latest, frames)
    finally:
        latest.close()


class _Frames:
    """Makes inputs of frames.

    Args:
        name: of the source.
        spec: what the bundle takes.

    Raises:
        InputError: the bundle takes no images.
        MissingPackageError: OpenCV is not here.
    """

    def __init__(self, name: str, spec: InputSpec) -> None:
        self.name = name
        self._spec = spec
        self._height, self._width, self._channels = pixels_shape(name, spec)
        self.cv2 = opencv(name)

    def input_of(self, frame: AnyArray) -> AnyArray:
        """A batch of one from a frame (H, W, 3) in BGR, or (H, W) in gray: resized, in RGB or gray.

        Raises:
            InputError: the frame is of another kind.
        """
        cv2 = self.cv2
        if frame.dtype != np.uint8 or frame.ndim not in (2, 3) or frame.shape[2:] not in ((), (1,), (3,)):
            raise InputError(f"{self.name}: gives frames {frame.dtype} {frame.shape}, expected uint8 in BGR or gray")
        if frame.shape[:2] != (self._height, self._width):
            shrinks = frame.shape[0] * frame.shape[1] > self._height * self._width
            how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
            frame = cv2.resize(frame, (self._width, self._height), interpolation=how)
        is_gray = frame.ndim == 2 or frame.shape[2] == 1
        if is_gray and self._channels == 3:
            frame = cv2.cvtColor(frame, cv2.COLOR_GRAY2RGB)
        elif not is_gray:
            frame = cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY if self._channels == 1 else cv2.COLOR_BGR2RGB)
        return laid_out(frame.reshape(self._height, self._width, self._channels), self._spec)[np.newaxis]


class _Latest:
    """The newest frame of a camera: a thread of its own takes every frame, so that none waits in a queue."""

    def __init__(self, capture: Any) -> None:
        self._capture = capture
        self._changed = threading.Condition()
        self._frame: AnyArray | None = None
        self._count = 0
        self._closing = threading.Event()
        # A daemon, since a driver may never return from a read.
        self._thread = threading.Thread(target=self._take_all, name="agfedge-camera", daemon=True)
        self._thread.start()

    def next(self) -> tuple[int, AnyArray] | None:
        """The newest frame that was not given before, and how many came before it; None after a long silence."""
        until = monotonic() + SILENCE_S
        while True:
            with self._changed:
                if self._frame is None:
                    self._changed.wait(_LOOK_UP_S)
                frame, self._frame = self._frame, None
                if frame is not None:
                    return self._count - 1, frame
            if monotonic() > until:
                return None

    def close(self) -> None:
        """End the thread, which releases the camera; safe to call twice."""
        self._closing.set()
        self._thread.join(SILENCE_S)

    def _take_all(self) -> None:
        while not self._closing.is_set():
            try:
                taken, frame = self._capture.read()
            except Exception:  # OpenCV's own error, for a frame that is broken
                taken = False
            if not taken:
                self._closing.wait(_RETRY_S)
                continue
            with self._changed:
                self._frame, self._count = frame, self._count + 1
                self._changed.notify()
        self._capture.release()


def _video(capture: Any, source: str, frames: _Frames) -> Iterator[Item]:
    taken, frame = capture.read()
    if not taken:
        raise InputError(f"{frames.name}: holds no frame that OpenCV {frames.cv2.__version__} reads")
    row = 0
    while taken:
        yield Item(source, row, frames.input_of(frame))
        taken, frame = capture.read()
        row += 1


def _camera(latest: _Latest, frames: _Frames) -> Iterator[Item]:
    while True:
        found = latest.next()
        if found is None:
            raise InputError(f"{frames.name}: gave no frame for {SILENCE_S:g} seconds; is it still plugged in?")
        row, frame = found
        yield Item(frames.name, row, frames.input_of(frame))


def _name(source: str) -> str:
    return f"camera {source}" if is_number(source) else source


def _backend(source: str, cv2: Any) -> int:
    if is_pipeline(source):
        return int(cv2.CAP_GSTREAMER)
    # By its own name: other backends ignore the size of the buffer, or try the device file as a video.
    return int(cv2.CAP_V4L2 if sys.platform.startswith("linux") else cv2.CAP_ANY)


def _why_closed(source: str) -> str:
    if is_pipeline(source):
        return "it must run with gst-launch-1.0 and end in appsink, and OpenCV must know GStreamer, as JetPack's does"
    path = f"/dev/video{int(source)}" if is_number(source) else source
    if not os.path.exists(path):
        there = ", ".join(sorted(glob("/dev/video*")))
        return f"there is no {path}; " + (f"there are {there}" if there else "plug a camera in")
    if not os.access(path, os.R_OK | os.W_OK):
        return f"{path} may not be read: sudo usermod -aG video $USER, and log in again"
    return f"is {path} a camera that gives images, and in use by nobody else (sudo fuser {path})?"


def opencv(needed_by: str) -> Any:
    """OpenCV's module, quiet where nobody has imported it before or says otherwise.

    Raises:
        MissingPackageError: it is not here, or cannot be imported; names who needs it.
    """
    # Its own warnings would stand between our lines.
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    # NumPy itself writes pages about a module that was built for another one.
    with contextlib.redirect_stderr(io.StringIO()):
        package = find_package("cv2")
    if "numpy" in package.problem:
        raise MissingPackageError(
            f"{needed_by}: {package.problem}: this OpenCV was built for another NumPy than {np.__version__}; an older "
            "OpenCV, as JetPack has it, takes pip install 'numpy<2'"
        )
    if package.problem:
        raise MissingPackageError(
            f"{needed_by}: videos and cameras need OpenCV, and {package.problem}: on a Jetson sudo apt-get install "
            "python3-opencv (a virtual environment sees it when made with --system-site-packages), elsewhere pip "
            "install opencv-python-headless"
        )
    return importlib.import_module("cv2")
