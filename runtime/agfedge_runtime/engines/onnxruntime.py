"""ONNX Runtime on the CPU: the backend that is everywhere."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol, cast

from agfedge_runtime.arrays import AnyArray
from agfedge_runtime.engines.onnx_outputs import graph_names, keep_outputs
from agfedge_runtime.errors import BackendError, InputError, MissingPackageError

_LOG_ERRORS_ONLY = 3


class _Session(Protocol):
    """The one method of ``onnxruntime.InferenceSession`` that is used here."""

    def run(self, output_names: Sequence[str], input_feed: Mapping[str, AnyArray]) -> list[AnyArray]: ...


class OnnxRuntimeEngine:
    """An ONNX file, run by ONNX Runtime's CPU provider.

    One session is made for each set of outputs when it is first asked for, from a model cut down to them: so
    asking for a prior never runs the expert, and weights that nobody asked for take no memory.

    Attributes:
        name: ``onnxruntime``.
        version: ONNX Runtime's version.
        threads: threads inside one run.
        input_names: the graph's inputs.
        output_names: the graph's outputs.
    """

    name = "onnxruntime"

    def __init__(self, path: Path, threads: int = 1) -> None:
        if threads < 1:
            raise InputError(f"got {threads} threads, expected at least 1")
        try:
            self._backend = importlib.import_module("onnxruntime")
        except ImportError as error:
            raise MissingPackageError(
                f"ONNX Runtime cannot be imported ({error}): pip install 'agfedge-runtime[cpu]'"
            ) from error
        self.version = str(self._backend.__version__)
        self.threads = threads
        self._path = path
        self._sessions: dict[tuple[str, ...], _Session] = {}
        self._closed = False
        self.input_names, self.output_names = self._graph_names()

    def run(self, inputs: Mapping[str, AnyArray], outputs: Sequence[str]) -> list[AnyArray]:
        """Compute `outputs`; see `Engine.run`."""
        names = tuple(outputs)
        session = self._sessions.get(names) or self._open_session(names)
        try:
            return session.run(names, inputs)
        except Exception as error:  # ONNX Runtime's errors share no base class.
            raise BackendError(f"{self._path.name}: ONNX Runtime: {_one_line(error)}") from error

    def close(self) -> None:
        """Give back every session; safe to call twice."""
        self._sessions.clear()
        self._closed = True

    def _graph_names(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        try:
            return graph_names(self._path.read_bytes())
        except OSError as error:
            raise BackendError(f"{self._path}: cannot be read: {error.strerror}") from error
        except ValueError as error:
            raise BackendError(f"{self._path}: no ONNX model: {error}; export it again") from error

    def _open_session(self, outputs: tuple[str, ...]) -> _Session:
        if self._closed:
            raise BackendError(f"{self._path.name}: the engine is closed; open the cascade again")
        try:
            model = keep_outputs(self._path.read_bytes(), outputs)
            session = self._backend.InferenceSession(model, self._options(), providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's errors share no base class.
            raise BackendError(f"{self._path}: ONNX Runtime cannot load it: {_one_line(error)}") from error
        self._sessions[outputs] = cast(_Session, session)
        return self._sessions[outputs]

    def _options(self) -> object:
        options = self._backend.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _LOG_ERRORS_ONLY
        # Two experts take turns: the one that waits must not spin on the other's cores.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        # Weights in files beside the model are looked for here, since the model itself is given as bytes. ONNX
        # Runtime 1.22 knows the entry, 1.20 ignores it and cannot load such a model.
        folder = str(self._path.resolve().parent)
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", folder)
        return options


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
