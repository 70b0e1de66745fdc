"""The runtime, engines and execution contexts: ONNX Runtime computes, in the order of the fake GPU's stream."""

from __future__ import annotations

import base64
import functools
import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from fake_pycuda import FakeGpu
from fake_tensorrt.building import PLAN_MAGIC
from fake_tensorrt.names import EnumValue, Strict

_NUMPY_TYPES = {
    "FLOAT": "float32", "HALF": "float16", "INT8": "int8", "UINT8": "uint8", "INT32": "int32", "INT64": "int64",
    "BOOL": "bool",
}  # fmt: skip

Shape = tuple[int, ...]
Array = npt.NDArray[np.generic]


class IProfiler(Strict):
    """Told of layers; a profiler that is not initialized, as a pybind11 object must be, is refused."""

    def __init__(self) -> None:
        self._initialized = True

    def report_layer_time(self, layer_name: str, ms: float) -> None:
        raise NotImplementedError


class Runtime(Strict):
    """Plans into engines."""

    def __init__(self, logger: Any) -> None:
        self._logger = logger
        self._core = -1

    @property
    def DLA_core(self) -> int:  # noqa: N802
        return self._core

    @DLA_core.setter
    def DLA_core(self, value: int) -> None:  # noqa: N802
        self._core = value

    @property
    def logger(self) -> Any:
        return self._logger

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> Any:
        fake, data = self._fake, bytes(serialized_engine)
        fake.on_deserialize(self)
        if fake.gpu is None:
            fake.log(self._logger, "ERROR", "CUDA initialization failure with error: 35")
            return None
        if not data.startswith(PLAN_MAGIC):
            fake.log(self._logger, "ERROR", "Serialization assertion magicTagRead == kPLAN_MAGIC_TAG failed.")
            return None
        plan = json.loads(data[len(PLAN_MAGIC) :])
        if plan["version"] != fake.version:
            message = f"expecting library version {fake.version} got {plan['version']}, please rebuild."
            fake.log(self._logger, "ERROR", f"The engine plan file is not compatible with this version: {message}")
            return None
        return fake.module.ICudaEngine(plan, self._logger)


class ICudaEngine(Strict):
    """A graph that can run."""

    def __init__(self, plan: Mapping[str, Any], logger: Any) -> None:
        self._plan, self._logger = plan, logger
        self._inputs = {name: (tuple(shape), kind) for name, shape, kind in plan["inputs"]}
        self._outputs = {name: (tuple(shape), kind) for name, shape, kind in plan["outputs"]}
        self._names = [*self._inputs, *self._outputs]
        self._shapes: dict[tuple[tuple[str, Shape], ...], dict[str, Shape]] = {}
        self._activation_bytes = self._fake.activation_bytes
        self._fake.live_engines += 1

    def __del__(self) -> None:
        self._fake.live_engines -= 1

    @property
    def num_io_tensors(self) -> int:
        return len(self._names)

    @property
    def num_optimization_profiles(self) -> int:
        return 1

    @property
    def name(self) -> str:
        return "fake"

    @property
    def device_memory_size(self) -> int:
        return self._activation_bytes

    @property
    def device_memory_size_v2(self) -> int:
        return self._activation_bytes

    def get_tensor_name(self, index: int) -> str:
        return self._names[index]

    def get_tensor_mode(self, name: str) -> EnumValue:
        mode = self._fake.module.TensorIOMode
        found: EnumValue = mode.INPUT if name in self._inputs else mode.OUTPUT
        return found

    def get_tensor_dtype(self, name: str) -> EnumValue:
        found: EnumValue = getattr(self._fake.module.DataType, self._tensor(name)[1])
        return found

    def get_tensor_shape(self, name: str) -> Shape:
        return self._tensor(name)[0]

    def get_tensor_location(self, name: str) -> EnumValue:
        found: EnumValue = self._fake.module.TensorLocation.DEVICE
        return found

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[Shape]:
        assert name in self._inputs
        assert profile_index == 0
        return [tuple(each) for each in self._plan["ranges"][name]]

    def create_execution_context(self, strategy: EnumValue | None = None) -> Any:
        return self._context(strategy is not None and strategy.name == "USER_MANAGED")

    def create_execution_context_without_device_memory(self) -> Any:
        return self._context(True)

    def _context(self, user_managed: bool) -> Any:
        fake = self._fake
        assert fake.gpu is not None
        fake.gpu.require_current("create_execution_context")
        if fake.null_contexts:
            fake.log(self._logger, "ERROR", "Error Code 2: OutOfMemory (Requested size was 4096 bytes.)")
            return None
        return fake.module.IExecutionContext(self, user_managed)

    def _tensor(self, name: str) -> tuple[Shape, str]:
        return self._inputs[name] if name in self._inputs else self._outputs[name]

    def _compute(self, inputs: Mapping[str, Array]) -> list[Array]:
        return list(_session(self._plan["model"]).run(list(self._outputs), dict(inputs)))

    def _output_shapes(self, shapes: Mapping[str, Shape]) -> dict[str, Shape]:
        key = tuple(shapes.items())
        if key not in self._shapes:
            zeros = {name: np.zeros(shape, _NUMPY_TYPES[self._inputs[name][1]]) for name, shape in shapes.items()}
            found = self._compute(zeros)
            self._shapes[key] = {name: each.shape for name, each in zip(self._outputs, found, strict=True)}
        return self._shapes[key]


class IExecutionContext(Strict):
    """One run at a time of an engine."""

    def __init__(self, engine: Any, user_managed: bool) -> None:
        self._engine, self._user_managed = engine, user_managed
        self._shapes = {name: shape for name, (shape, _) in engine._inputs.items() if -1 not in shape}
        self._addresses: dict[str, int] = {}
        self._memory = 0
        self._warm = False
        self._changes = 0
        self._profiler: Any = None
        self._fake.live_contexts += 1

    def __del__(self) -> None:
        self._fake.live_contexts -= 1

    @property
    def engine(self) -> Any:
        return self._engine

    @property
    def device_memory(self) -> int:
        return self._memory

    @device_memory.setter
    def device_memory(self, value: int) -> None:
        self._memory = value
        self._changed()

    @property
    def profiler(self) -> Any:
        return self._profiler

    @profiler.setter
    def profiler(self, value: Any) -> None:
        assert isinstance(value, self._fake.module.IProfiler)
        assert value._initialized
        self._profiler = value

    def set_device_memory(self, memory: int, size: int) -> None:
        assert size >= self._engine._activation_bytes
        self._memory = memory
        self._changed()

    def set_input_shape(self, name: str, shape: Shape) -> bool:
        engine = self._engine
        declared = engine._inputs[name][0]
        low, _, high = engine.get_tensor_profile_shape(name, 0) if -1 in declared else (declared,) * 3
        if not all(least <= given <= most for least, given, most in zip(low, shape, high, strict=True)):
            self._log(f"Set dimension {tuple(shape)} for tensor {name} does not satisfy any optimization profiles.")
            return False
        if self._shapes.get(name) != tuple(shape):
            self._shapes[name] = tuple(shape)
            self._warm = False
            self._changed()
        return True

    def get_tensor_shape(self, name: str) -> Shape:
        engine = self._engine
        if name in engine._inputs:
            return self._shapes.get(name, engine._inputs[name][0])
        if len(self._shapes) < len(engine._inputs):
            return engine._outputs[name][0]
        return engine._output_shapes(self._shapes)[name]

    def infer_shapes(self) -> list[str]:
        return [name for name in self._engine._inputs if name not in self._shapes]

    def set_tensor_address(self, name: str, memory: int) -> bool:
        assert name in self._engine._names
        if self._addresses.get(name) != int(memory):
            self._addresses[name] = int(memory)
            self._changed()
        return True

    def get_tensor_address(self, name: str) -> int:
        return self._addresses.get(name, 0)

    def execute_async_v3(self, stream_handle: int) -> bool:
        fake = self._fake
        assert fake.gpu is not None
        fake.gpu.require_current("execute_async_v3")
        stream = fake.gpu.stream(stream_handle)
        refusal = self._refusal(stream.captured is not None)
        if refusal:
            stream.capture_is_sound = False
            self._log(refusal)
            return False
        stream.submit(self._operation(stream.captured is not None))
        self._warm = True
        return True

    def _refusal(self, capturing: bool) -> str:
        engine = self._engine
        if self._fake.enqueue_failures:
            return self._fake.enqueue_failures.pop(0)
        if len(self._shapes) < len(engine._inputs):
            return "IExecutionContext::enqueueV3: an input's dimensions were not specified"
        missing = [name for name in engine._names if not self._addresses.get(name)]
        if missing:
            return f"Neither address or allocator is set for tensor {missing[0]}. Call setTensorAddress before enqueue."
        if self._user_managed and not self._memory:
            return "IExecutionContext::enqueueV3: the context has no device memory"
        if capturing and not self._warm:
            return "the context was not enqueued since its shapes changed, its update cannot be captured"
        return ""

    def _operation(self, captured: bool) -> Callable[[], None]:
        engine, gpu = self._engine, self._fake.gpu
        assert gpu is not None
        shapes, addresses, changes = dict(self._shapes), dict(self._addresses), self._changes
        memory, size = self._memory, engine._activation_bytes

        profiler = self._profiler

        def operate() -> None:
            gpu.now_us += gpu.compute_us
            for name, ms in self._fake.layer_ms if profiler is not None else ():
                profiler.report_layer_time(name, ms)
            assert not captured or changes == self._changes, "the context of a captured graph was changed"
            if memory:
                gpu.span(memory, size)[:] = 0xEE
            given = {name: _read(gpu, addresses[name], engine._inputs[name][1], shapes[name]) for name in shapes}
            for name, value in zip(engine._outputs, engine._compute(given), strict=True):
                raw = np.frombuffer(value.tobytes(), np.uint8)
                gpu.span(addresses[name], raw.nbytes)[:] = raw

        return operate

    def _changed(self) -> None:
        self._changes += 1

    def _log(self, message: str) -> None:
        self._fake.log(self._engine._logger, "ERROR", message)


@functools.lru_cache(maxsize=16)
def _session(model: str) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(base64.b64decode(model), options, providers=["CPUExecutionProvider"])


def _read(gpu: FakeGpu, address: int, kind: str, shape: Shape) -> Array:
    dtype = np.dtype(_NUMPY_TYPES[kind])
    return np.frombuffer(gpu.span(address, dtype.itemsize * int(np.prod(shape))).tobytes(), dtype).reshape(shape)
