"""The state of a recovery after an epoch, in one file that is written whole: a safetensors file, nothing pickled."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from agfedge_runtime.atomic import write_bytes
from agfedge_runtime.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch
    from numpy.typing import NDArray

    from agfedge.recover.options import Recovery
    from agfedge.recover.student import Student

VERSION = 1
_HEADER = "agfedge_recovery"


@dataclass
class Course:
    """How far a recovery has come.

    Attributes:
        accuracies: on the held-out samples, at the start and after each epoch.
        losses: the mean of each epoch.
        best_epoch: 0 for the start.
        best: the module's state then, on the CPU.
        state: the module's state after the last epoch.
        moments: of the optimizer, by "<position of the parameter>/<name>".
        scaler: of the float16 gradients; empty for other formats.
    """

    accuracies: list[float]
    losses: list[float]
    best_epoch: int
    best: dict[str, torch.Tensor]
    state: dict[str, torch.Tensor] = field(default_factory=dict)
    moments: dict[str, torch.Tensor] = field(default_factory=dict)
    scaler: dict[str, float] = field(default_factory=dict)

    @property
    def epoch(self) -> int:
        """How many epochs are done."""
        return len(self.losses)


def fingerprint(
    student: Student,
    teacher: torch.nn.Module,
    x: NDArray[np.float32],
    y: NDArray[np.int64],
    recovery: Recovery,
    size: int,
) -> dict[str, str]:
    """Returns what a recovery depends on, digested: a checkpoint of another one is not continued."""
    return {
        "plan": hashlib.sha256(student.plan.to_json().encode()).hexdigest(),
        "options": json.dumps(asdict(recovery), sort_keys=True),
        "data": _digest({"x": x, "y": y}),
        "light expert": student.kind + " " + _digest(_arrays(student.module)),
        "heavy expert": _digest(_arrays(teacher)),
        "number of processes": str(size),
    }


def save_course(path: Path, course: Course, mark: Mapping[str, str]) -> None:
    """Writes a checkpoint whole.

    Raises:
        InputError: it cannot be written there.
    """
    import safetensors.torch

    groups = {"best": course.best, "state": course.state, "moments": course.moments}
    tensors = {
        f"{group}/{name}": value.detach().cpu().contiguous().clone()
        for group, values in groups.items()
        for name, value in values.items()
    }
    header = {
        "version": VERSION,
        "fingerprint": dict(mark),
        "accuracies": course.accuracies,
        "losses": course.losses,
        "best_epoch": course.best_epoch,
        "scaler": course.scaler,
    }
    path.parent.mkdir(parents=True, exist_ok=True)  # as for the bundle beside it
    write_bytes(path, safetensors.torch.save(tensors, {_HEADER: json.dumps(header)}))


def load_course(path: Path, mark: Mapping[str, str]) -> Course | None:
    """Reads a checkpoint; None where there is none.

    Raises:
        InputError: the file is none, or it belongs to another recovery: that may be hours of work, so it is not
            overwritten.
    """
    if not path.exists():
        return None
    try:
        header, tensors = _read(path)
        version, theirs = header["version"], dict(header["fingerprint"])
        course = Course(
            accuracies=[float(each) for each in header["accuracies"]],
            losses=[float(each) for each in header["losses"]],
            best_epoch=int(header["best_epoch"]),
            best=_group(tensors, "best"),
            state=_group(tensors, "state"),
            moments=_group(tensors, "moments"),
            scaler={str(name): float(value) for name, value in header["scaler"].items()},
        )
    except Exception as error:  # whatever a file that is none makes the readers raise
        raise InputError(f"{path} is not a checkpoint of a recovery: delete it, or name another file") from error
    differ = [name for name, value in mark.items() if theirs.get(name) != value]
    if differ or version != VERSION:
        raise InputError(
            f"{path} is the checkpoint of another recovery (not the same: {', '.join(differ) or 'version'}): delete "
            "it, or name another file"
        )
    return course


def _read(path: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    import safetensors

    with safetensors.safe_open(path, framework="pt") as file:
        header: dict[str, Any] = json.loads(file.metadata()[_HEADER])
        return header, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping


def _group(tensors: dict[str, torch.Tensor], group: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(f"{group}/"): value for name, value in tensors.items() if name.startswith(f"{group}/")}


def _arrays(module: torch.nn.Module) -> dict[str, NDArray[np.generic]]:
    return {name: value.detach().cpu().numpy() for name, value in module.state_dict().items()}


def _digest(arrays: Mapping[str, NDArray[np.generic]]) -> str:
    digest = hashlib.sha256()
    for name, value in sorted(arrays.items()):
        digest.update(f"{name} {value.dtype} {value.shape};".encode())
        digest.update(np.ascontiguousarray(value).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
