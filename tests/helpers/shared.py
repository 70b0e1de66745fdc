"""What several tests read and none changes: made once a run, by the worker that asks first."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


class Shared:
    """Folders that all workers of a run share.

    Args:
        root: holds the folders; the same for all workers.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def folder(self, name: str, make: Callable[[Path], None]) -> Path:
        """Returns a folder; the first caller has `make` fill it, others wait meanwhile.

        Made where it stays, for what is made may hold its own path. What failed is made anew.
        """
        folder, whole = self._root / name, self._root / f"{name}.whole"
        with _locked(self._root / f"{name}.lock"):
            if not whole.exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir(parents=True)
                make(folder)
                whole.touch()
        return folder


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
