"""Stands in for OpenCV's cameras: what `cv2` is to agfedge_runtime.stream.video, without a device.

It stands in as a module by itself (`sys.modules["cv2"] = fake_opencv.FakeOpenCV(...)`), and in a child process as
`cv2.py` that is written by `write_module`: there camera 0 gives frames for as long as it is asked.
"""

from __future__ import annotations

import queue
import types
from pathlib import Path

import numpy as np
import numpy.typing as npt

Frame = npt.NDArray[np.uint8]


class FakeOpenCV(types.ModuleType):
    """A module `cv2` with one camera, whose frames a test puts into `frames`; None stands for a read that fails.

    Attributes:
        frames: What the camera gives, one after the other; a read waits for the next.
        wanted: Counts up with every read that begins: what was put before is taken by then.
        opened: Sources and backends that were asked for.
        settings: What was set.
        released: How often a camera was given back.
    """

    __version__ = "4.5.4"
    CAP_ANY, CAP_V4L2, CAP_GSTREAMER, CAP_PROP_BUFFERSIZE = 0, 200, 1800, 38

    def __init__(self, cameras: tuple[object, ...] = (0,)) -> None:
        super().__init__("cv2")
        self.cameras = cameras
        self.frames: queue.Queue[Frame | None] = queue.Queue()
        self.wanted: queue.Queue[None] = queue.Queue()
        self.opened: list[tuple[object, int]] = []
        self.settings: dict[int, float] = {}
        self.released = 0

    def VideoCapture(self, source: object, backend: int = 0) -> _Capture:  # noqa: N802 -- OpenCV's name
        self.opened.append((source, backend))
        return _Capture(self, source in self.cameras)


class _Capture:
    def __init__(self, module: FakeOpenCV, is_opened: bool) -> None:
        self._module = module
        self._is_opened = is_opened

    def isOpened(self) -> bool:  # noqa: N802
        return self._is_opened

    def set(self, setting: int, value: float) -> bool:
        self._module.settings[setting] = value
        return True

    def read(self) -> tuple[bool, Frame | None]:
        self._module.wanted.put(None)
        try:
            frame = self._module.frames.get(timeout=0.1)
        except queue.Empty:
            frame = None
        return frame is not None, frame

    def release(self) -> None:
        self._module.released += 1


_MODULE = """
import time
import numpy as np

__version__ = "4.5.4"
CAP_ANY, CAP_V4L2, CAP_GSTREAMER, CAP_PROP_BUFFERSIZE = 0, 200, 1800, 38


class VideoCapture:
    def __init__(self, source, backend=0):
        self.source = source

    def isOpened(self):
        return self.source == 0

    def set(self, setting, value):
        return True

    def read(self):
        time.sleep(0.001)
        return True, np.array([[250, 3], [9, 0]], np.uint8)

    def release(self):
        pass
"""


def write_module(folder: Path) -> Path:
    """Write `cv2.py` into a folder, which belongs into a child's PYTHONPATH."""
    (folder / "cv2.py").write_text(_MODULE)
    return folder
