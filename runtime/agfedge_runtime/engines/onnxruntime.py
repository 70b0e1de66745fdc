"""ONNX Runtime: on the CPU the backend that is everywhere, and on a GPU through its CUDA and TensorRT providers.

ONNX Runtime answers from the CPU, with a warning at most, where a provider's libraries are missing or a run fails on
it (https://onnxruntime.ai/docs/execution-providers). Here that is an error: who asks for a GPU wants no other speed.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol, cast

from agfedge_runtime.arrays import AnyArray
from agfedge_runtime.engines.onnx_layers import layer_times
from agfedge_runtime.engines.onnx_outputs import graph_names, keep_outputs
from agfedge_runtime.errors import BackendError, InputError, MissingPackageError
from agfedge_runtime.machine.jetson import numbers_of

_LOG_ERRORS_ONLY = 3
_CPU: tuple[str, Mapping[str, str]] = ("CPUExecutionProvider", {})
# Numbers as on the CPU: tensor cores would round float32 to TF32. Memory is shared on a Jetson, so none is hoarded.
_CUDA = ("CUDAExecutionProvider", {"use_tf32": "0", "arena_extend_strategy": "kSameAsRequested"})
_TF32_OPTION_SINCE = (1, 18)
# Its engines are made anew for every session: ONNX Runtime's cache of them vouches for no file, and is off by default.
_TENSORRT: tuple[str, Mapping[str, str]] = ("TensorrtExecutionProvider", {})
# What each backend asks ONNX Runtime for, best first; what one provider lacks goes to the next.
_PROVIDERS: Mapping[str, tuple[tuple[str, Mapping[str, str]], ...]] = {
    "onnxruntime": (_CPU,),
    "onnxruntime-cuda": (_CUDA, _CPU),
    "onnxruntime-tensorrt": (_TENSORRT, _CUDA, _CPU),
}


class _Session(Protocol):
    """What is used here of ``onnxruntime.InferenceSession``."""

    def run(self, output_names: Sequence[str], input_feed: Mapping[str, AnyArray]) -> list[AnyArray]: ...

    def get_providers(self) -> list[str]: ...

    def disable_fallback(self) -> None: ...


class OnnxRuntimeEngine:
    """An ONNX file, run by ONNX Runtime.

    One session is made for each set of outputs when it is first asked for, from a model cut down to them: so
    asking for a prior never runs the expert, and weights that nobody asked for take no memory.

    Args:
        path: the graph.
        threads: threads inside one run, on the CPU.
        backend: ``onnxruntime`` for the CPU, ``onnxruntime-cuda`` or ``onnxruntime-tensorrt``.

    Attributes:
        name: the backend.
        version: ONNX Runtime's version.
        threads: threads inside one run.
        input_names: the graph's inputs.
        output_names: the graph's outputs.

    Raises:
        BackendError: the graph cannot be read, or ONNX Runtime here lacks the provider.
        InputError: `threads` is below 1.
        MissingPackageError: ONNX Runtime is not installed.
    """

    def __init__(self, path: Path, threads: int = 1, backend: str = "onnxruntime") -> None:
        if threads < 1:
            raise InputError(f"got {threads} threads, expected at least 1")
        try:
            self._backend = importlib.import_module("onnxruntime")
        except ImportError as error:
            raise MissingPackageError(f"ONNX Runtime cannot be imported ({error}): pip install onnxruntime") from error
        self.name = backend
        self.version = str(getattr(self._backend, "__version__", ""))
        self.threads = threads
        self._providers = _PROVIDERS[backend]
        self._require_provider()
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

    def layers(self, inputs: Mapping[str, AnyArray], outputs: Sequence[str], runs: int) -> list[tuple[str, float]]:
        """Time layers by ONNX Runtime's profiler, in a session of their own; see `LayeredEngine.layers`.

        Nodes that ONNX Runtime fused are one layer, under the name that it gives them. On a GPU its profiler sees
        nodes being submitted, not run: there it tells none.
        """
        if self._providers != (_CPU,):
            return []

        def open_session(options: object) -> object:
            return self._make_session(keep_outputs(self._path.read_bytes(), tuple(outputs)), options)

        try:
            return layer_times(open_session, self._options(), inputs, tuple(outputs), runs)
        except Exception as error:  # ONNX Runtime's errors share no base class.
            raise BackendError(f"{self._path.name}: ONNX Runtime cannot time it: {_one_line(error)}") from error

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
            session = cast(_Session, self._make_session(model, self._options()))
        except Exception as error:  # ONNX Runtime's errors share no base class.
            raise BackendError(f"{self._path}: ONNX Runtime cannot load it: {_one_line(error)}") from error
        self._require_served(session)
        self._sessions[outputs] = session
        return session

    def _make_session(self, model: bytes, session_options: object) -> object:
        old = numbers_of(self.version) < _TF32_OPTION_SINCE
        providers = [
            (name, {key: value for key, value in options.items() if not (old and key == "use_tf32")})
            for name, options in self._providers
        ]
        # Else it tries again on the CPU by itself, and says so on stdout.
        return self._backend.InferenceSession(model, session_options, providers=providers, enable_fallback=0)

    def _require_provider(self) -> None:
        """Refuse a package that lacks ONNX Runtime's library, or was built without the provider."""
        if not self.version:
            raise MissingPackageError(
                "ONNX Runtime is an empty folder here: pip uninstall onnxruntime, then pip install onnxruntime"
            )
        wanted, available = self._providers[0][0], self._backend.get_available_providers()
        if wanted not in available:
            raise BackendError(
                f"ONNX Runtime {self.version} here has the providers {', '.join(available)}, expected {wanted} for "
                f"the backend {self.name}: pip uninstall onnxruntime, then pip install onnxruntime-gpu (on a Jetson "
                "the wheel for its JetPack); or choose the backend onnxruntime"
            )

    def _require_served(self, session: _Session) -> None:
        """Refuse a session that ONNX Runtime made without the provider."""
        wanted, served = self._providers[0][0], session.get_providers()
        if wanted not in served:
            raise BackendError(
                f"{self._path.name}: ONNX Runtime took {', '.join(served)} instead of {wanted}: it needs libraries of "
                "another CUDA, cuDNN or TensorRT than are here; see `agfedge-runtime check`, or choose the backend "
                "onnxruntime"
            )
        # Else a failed run would be tried again on the CPU, silently.
        session.disable_fallback()

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
