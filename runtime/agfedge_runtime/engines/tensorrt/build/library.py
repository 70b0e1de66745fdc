"""Which TensorRT serves: NVIDIA's ``tensorrt`` (8.5 to 11), or ``tensorrt_rtx`` with the same interface.

Nothing is decided by a version number where a name can be asked for: the classes of each release define the names that
they have, and `Library.has` looks.
"""

from __future__ import annotations

import importlib
import logging
import re
import sys
from collections import deque
from dataclasses import dataclass, field
from types import ModuleType
from typing import Protocol, cast

from agfedge_runtime.errors import BackendError, MissingPackageError, one_line

LIBRARIES = ("tensorrt", "tensorrt_rtx")

_log = logging.getLogger(__name__)
_OLDEST = (8, 5)
_KEPT_MESSAGES = 200
# Of ILogger.Severity: 0 is an internal error, 1 an error, 2 a warning; what is above is for developers.
_ERROR, _WARNING = 1, 2
# A machine without a GPU says this beside whatever else is wrong.
_CONSEQUENCE = "catchCudaError"
_INSTALL = {
    "tensorrt": "on a Jetson: sudo apt install python3-libnvinfer (in a virtual environment made with "
    "--system-site-packages); elsewhere: pip install tensorrt",
    "tensorrt_rtx": "pip install tensorrt-rtx-cu13 (x86-64 alone)",
}


class MessageLog(Protocol):
    """A TensorRT logger that keeps what it is told."""

    def messages(self) -> list[str]:
        """The warnings and errors so far, the oldest first; at most the last 200."""
        ...

    def errors(self) -> list[str]:
        """The errors among them."""
        ...

    def clear(self) -> None:
        """Forget them."""
        ...


@dataclass(frozen=True)
class Library:
    """A TensorRT that was imported.

    Attributes:
        module: the Python module.
        name: ``tensorrt`` or ``tensorrt_rtx``.
        version: its numbers, as (10, 3, 0).
        logger: the one that every builder, parser and runtime of this process is given.
    """

    module: ModuleType
    name: str
    version: tuple[int, ...]
    logger: MessageLog = field(compare=False)

    @property
    def full_version(self) -> str:
        """The version as text: a plan fits no other."""
        return ".".join(map(str, self.version))

    @property
    def title(self) -> str:
        """What messages call it."""
        return f"{'TensorRT-RTX' if self.name == 'tensorrt_rtx' else 'TensorRT'} {self.full_version}"

    @property
    def takes_precision_from_types(self) -> bool:
        """Whether the graph's types alone decide a layer's precision, as from version 11 on and in TensorRT-RTX."""
        return not self.has("BuilderFlag.FP16")

    def has(self, name: str) -> bool:
        """Whether this version defines a dotted name, for instance ``BuilderFlag.FP16``."""
        found: object = self.module
        for part in name.split("."):
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
        return True

    def reason(self) -> str:
        """What the logger was told first that went wrong, in one line."""
        errors = self.logger.errors()
        telling = [each for each in errors if _CONSEQUENCE not in each] or errors
        return " ".join(telling[0].split()) if telling else "it gave no reason"


def open_library(name: str) -> Library:
    """Import a TensorRT.

    Args:
        name: one of `LIBRARIES`.

    Returns:
        The same library for every call, since TensorRT keeps the first logger of a process.

    Raises:
        BackendError: there is no such library, or its version is too old.
        MissingPackageError: it cannot be imported.
    """
    if name not in LIBRARIES:
        raise BackendError(f"got the library {name!r}, expected one of {', '.join(LIBRARIES)}")
    opened = _opened.get(name)
    if opened is not None and sys.modules.get(name) is opened.module:
        return opened
    _opened[name] = _open(name)
    return _opened[name]


_opened: dict[str, Library] = {}


def _open(name: str) -> Library:
    try:
        module = importlib.import_module(name)
    except Exception as error:  # A broken binary raises whatever it likes when it is imported.
        raise MissingPackageError(f"{name} cannot be imported ({one_line(error)}): {_INSTALL[name]}") from error
    said = str(getattr(module, "__version__", ""))
    version = tuple(int(number) for number in re.findall(r"\d+", said))
    if not version:
        # What an incomplete removal leaves behind imports as an empty package.
        raise MissingPackageError(f"{name} is an empty folder without a version; remove it, then {_INSTALL[name]}")
    if name == "tensorrt" and version < _OLDEST:
        raise BackendError(f"got TensorRT {said}, expected 8.5 or later; install JetPack 5.1 or later")
    library = Library(module, name, version, _logger(module))
    _register_plugins(library)
    return library


def _register_plugins(library: Library) -> None:
    """Make TensorRT's own plugins known: its parser uses one for InstanceNormalization in version 8."""
    if library.name == "tensorrt" and not library.module.init_libnvinfer_plugins(library.logger, ""):
        _log.warning("%s cannot register its plugins: %s", library.title, library.reason())


def _logger(module: ModuleType) -> MessageLog:
    class Logger(module.ILogger):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            module.ILogger.__init__(self)
            self._kept: deque[tuple[int, str]] = deque(maxlen=_KEPT_MESSAGES)

        def log(self, severity: object, message: str) -> None:
            # TensorRT calls this from threads of its own; nothing may be raised here.
            level = int(cast("int", severity))
            if level <= _WARNING:
                self._kept.append((level, message))
                _log.debug("%s", message)

        def messages(self) -> list[str]:
            return [message for _level, message in self._kept]

        def errors(self) -> list[str]:
            return [message for level, message in self._kept if level <= _ERROR]

        def clear(self) -> None:
            self._kept.clear()

    return cast("MessageLog", Logger())
