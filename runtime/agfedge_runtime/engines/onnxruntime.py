"""ONNX Runtime: on the CPU the backend that is everywhere, and on a GPU through its CUDA and TensorRT providers.

ONNX Runtime answers from the CPU, with a warning at most, where a provider's libraries are missing or a run fails on
it (https://onnxruntime.ai/docs/execution-providers). Here that is an error: who asks for a GPU wants no other speed.

The trace of its profiler (``SessionOptions.enable_profiling``) has an event of the category ``Node`` for each node in
each run, with the time in whole microseconds:
https://onnxruntime.ai/docs/performance/tune-performance/profiling-tools.html
"""

from __future__ import annotations

import importlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

from agfedge_runtime.arrays import AnyArray
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
# Memory is taken, and kernels are chosen, in the first runs.
_WARM_UP = 5
_SUFFIX = "_kernel_time"


class _Named(Protocol):
    """An input or output of a session."""

    name: str


class _Session(Protocol):
    """What is used here of ``onnxruntime.InferenceSession``."""

    def run(self, output_names: Sequence[str], input_feed: Mapping[str, AnyArray]) -> list[AnyArray]: ...

    def get_inputs(self) -> list[_Named]: ...

    def get_outputs(self) -> list[_Named]: ...

    def get_providers(self) -> list[str]: ...

    def disable_fallback(self) -> None: ...


class OnnxRuntimeEngine:
    """An ONNX file, run by ONNX Runtime.

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
        BackendError: the graph cannot be loaded, or ONNX Runtime here lacks the provider.
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
        session = self._open_session()
        self._session: _Session | None = session
        self.input_names = tuple(value.name for value in session.get_inputs())
        self.output_names = tuple(value.name for value in session.get_outputs())

    def run(self, inputs: Mapping[str, AnyArray], outputs: Sequence[str]) -> list[AnyArray]:
        """Compute `outputs`; see `Engine.run`."""
        if self._session is None:
            raise BackendError(f"{self._path.name}: the engine is closed; open the cascade again")
        try:
            return self._session.run(outputs, inputs)
        except Exception as error:  # ONNX Runtime's errors share no base class.
            raise BackendError(f"{self._path.name}: ONNX Runtime: {_one_line(error)}") from error

    def layers(self, inputs: Mapping[str, AnyArray], outputs: Sequence[str], runs: int) -> list[tuple[str, float]]:
        """Time layers by ONNX Runtime's profiler, in a session of their own; see `LayeredEngine.layers`.

        Nodes that ONNX Runtime fused are one layer, under the name that it gives them. On a GPU its profiler sees
        nodes being submitted, not run: there it tells none.
        """
        if self._providers != (_CPU,):
            return []
        try:
            return self._node_times(inputs, outputs, runs)
        except Exception as error:  # ONNX Runtime's errors share no base class.
            raise BackendError(f"{self._path.name}: ONNX Runtime cannot time it: {_one_line(error)}") from error

    def close(self) -> None:
        """Give back the session; safe to call twice."""
        self._session = None

    def _open_session(self) -> _Session:
        try:
            with open(self._path, "rb"):  # ONNX Runtime says of a missing file that it has no model
                session = cast(_Session, self._make_session(self._options()))
        except OSError as error:
            raise BackendError(f"{self._path}: cannot be read: {error.strerror}") from error
        except Exception as error:  # ONNX Runtime's errors share no base class.
            raise BackendError(
                f"{self._path}: ONNX Runtime cannot load it: {_one_line(error)}; export it again"
            ) from error
        self._require_served(session)
        return session

    def _make_session(self, session_options: object) -> Any:
        old = numbers_of(self.version) < _TF32_OPTION_SINCE
        providers = [
            (name, {key: value for key, value in options.items() if not (old and key == "use_tf32")})
            for name, options in self._providers
        ]
        # Else it tries again on the CPU by itself, and says so on stdout.
        return self._backend.InferenceSession(str(self._path), session_options, providers=providers, enable_fallback=0)

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

    def _node_times(self, inputs: Mapping[str, AnyArray], outputs: Sequence[str], runs: int) -> list[tuple[str, float]]:
        """Name and mean microseconds of each node, of runs with the profiler in a session of their own."""
        options = self._options()
        with tempfile.TemporaryDirectory(prefix="agfedge-") as folder:
            options.enable_profiling = True
            options.profile_file_prefix = str(Path(folder) / "layers")
            session = self._make_session(options)
            for _ in range(_WARM_UP + runs):
                session.run(list(outputs), dict(inputs))
            trace = Path(session.end_profiling()).read_text(encoding="utf-8")
        return mean_times(trace, runs)

    def _options(self) -> Any:
        options = self._backend.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _LOG_ERRORS_ONLY
        # Two experts take turns: the one that waits must not spin on the other's cores.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        return options


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def mean_times(trace: str, runs: int) -> list[tuple[str, float]]:
    """Name and mean microseconds of each node over its last runs, from the profiler's JSON."""
    times_us: dict[tuple[str, str], list[float]] = {}
    for event in json.loads(trace):
        name = str(event.get("name", ""))
        # Beside the kernel's time older versions list the fences around it.
        if event.get("cat") == "Node" and name.endswith(_SUFFIX):
            # Two nodes may share a name, an index they do not.
            key = (name[: -len(_SUFFIX)], str(event.get("args", {}).get("node_index", "")))
            times_us.setdefault(key, []).append(float(event["dur"]))
    return [(name, sum(times[-runs:]) / len(times[-runs:])) for (name, _), times in times_us.items()]
