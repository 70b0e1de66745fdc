"""Loggers, networks and the parser: ONNX is read by the onnx package, and kept as it is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx

from fake_tensorrt.names import EnumValue, Strict

if TYPE_CHECKING:
    from fake_tensorrt import FakeTensorRt

Shape = tuple[int, ...]

_TYPE_NAMES = {
    onnx.TensorProto.FLOAT: "FLOAT", onnx.TensorProto.FLOAT16: "HALF", onnx.TensorProto.INT8: "INT8",
    onnx.TensorProto.UINT8: "UINT8", onnx.TensorProto.INT32: "INT32", onnx.TensorProto.INT64: "INT64",
    onnx.TensorProto.BOOL: "BOOL",
}  # fmt: skip


class ILogger:
    """What messages go to."""

    def __init__(self) -> None:
        pass

    def log(self, severity: EnumValue, message: str) -> None:
        raise NotImplementedError


class Logger:
    """The logger that prints; here it keeps."""

    def __init__(self, min_severity: EnumValue | None = None) -> None:
        self.min_severity = min_severity
        self.kept: list[str] = []

    def log(self, severity: EnumValue, message: str) -> None:
        self.kept.append(message)


class IProgressMonitor:
    """What a program derives from to see the progress of a build."""

    def __init__(self) -> None:
        pass


class IHostMemory(bytes):
    """Bytes of the library."""

    @property
    def nbytes(self) -> int:
        return len(self)


class ITensor(Strict):
    """A tensor of a network."""

    def __init__(self, name: str, shape: Shape, kind: str) -> None:
        self._facts = (name, shape, kind)

    @property
    def name(self) -> str:
        return self._facts[0]

    @property
    def shape(self) -> Shape:
        return self._facts[1]

    @property
    def dtype(self) -> EnumValue:
        found: EnumValue = getattr(self._fake.module.DataType, self._facts[2])
        return found


class INetworkDefinition(Strict):
    """What a parser fills."""

    def __init__(self, flags: int) -> None:
        self._flags = flags
        self._model = b""
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []
        self._layers = 0
        self._name = ""

    @property
    def name(self) -> str:
        return self._name

    @name.setter
    def name(self, value: str) -> None:
        self._name = value

    @property
    def num_inputs(self) -> int:
        return len(self._inputs)

    @property
    def num_outputs(self) -> int:
        return len(self._outputs)

    @property
    def num_layers(self) -> int:
        return self._layers

    @property
    def flags(self) -> int:
        return self._flags

    @property
    def has_implicit_batch_dimension(self) -> bool:
        return not is_explicit(self._fake, self._flags)

    def get_flag(self, flag: EnumValue) -> bool:
        return self._fake.number() >= 11 or bool(self._flags >> int(flag) & 1)

    def get_input(self, index: int) -> Any:
        return self._inputs[index]

    def get_output(self, index: int) -> Any:
        return self._outputs[index]


class ParserError:
    """Why a node was refused."""

    def __init__(self, desc: str, node: int, name: str, operator: str) -> None:
        self._facts = (desc, node, name, operator)

    def desc(self) -> str:
        return self._facts[0]

    def node(self) -> int:
        return self._facts[1]

    def node_name(self) -> str:
        return self._facts[2]

    def node_operator(self) -> str:
        return self._facts[3]

    def code(self) -> int:
        return 8

    def file(self) -> str:
        return "importer.cpp"

    def func(self) -> str:
        return "parseNode"

    def line(self) -> int:
        return 1

    def local_function_stack(self) -> list[str]:
        return []

    def local_function_stack_size(self) -> int:
        return 0


class OnnxParser(Strict):
    """Reads ONNX into a network."""

    def __init__(self, network: Any, logger: Any) -> None:
        self._network, self._logger = network, logger
        self._errors: list[Any] = []
        self._flag_bits = 0

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    @property
    def flags(self) -> int:
        return self._flag_bits

    def get_error(self, index: int) -> Any:
        return self._errors[index]

    def clear_errors(self) -> None:
        self._errors.clear()

    def set_flag(self, flag: EnumValue) -> None:
        self._flag_bits |= 1 << int(flag)

    def parse_from_file(self, file: str) -> bool:
        return self._take(Path(file).read_bytes())

    def parse(self, model: bytes, path: str | None = None) -> bool:
        return self._take(bytes(model))

    def _take(self, data: bytes) -> bool:
        refusal = self._read(data)
        if refusal is not None:
            self._errors.append(self._fake.module.ParserError(*refusal))
            self._fake.log(self._logger, "ERROR", f"ModelImporter.cpp: {refusal[0]}")
        return refusal is None

    def _read(self, data: bytes) -> tuple[str, int, str, str] | None:
        network = self._network
        if not is_explicit(self._fake, network._flags):
            return "This version of the ONNX parser only supports networks with an explicit batch dimension", -1, "", ""
        try:
            model = onnx.load_from_string(data)
            onnx.checker.check_model(model)
        except Exception:
            return "Failed to parse the ONNX model", -1, "", ""
        for index, node in enumerate(model.graph.node):
            if node.op_type in self._fake.refused_operators:
                return f"No importer registered for op: {node.op_type}", index, node.name, node.op_type
        constants = {each.name for each in model.graph.initializer}
        network._inputs = [self._tensor(each) for each in model.graph.input if each.name not in constants]
        network._outputs = [self._tensor(each) for each in model.graph.output]
        network._layers = len(model.graph.node)
        network._model = data
        return None

    def _tensor(self, value: onnx.ValueInfoProto) -> Any:
        kind = value.type.tensor_type
        shape = tuple(each.dim_value if each.HasField("dim_value") else -1 for each in kind.shape.dim)
        return self._fake.module.ITensor(value.name, shape, _TYPE_NAMES[kind.elem_type])


def is_explicit(fake: FakeTensorRt, flags: int) -> bool:
    """Whether a network's batch is explicit: by its flag up to 8, always from 10 on."""
    return fake.number() >= 10 or bool(flags & 1)
