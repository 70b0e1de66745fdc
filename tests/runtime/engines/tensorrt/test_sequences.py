"""Any sequence of runs, shares, closes and larger engines answers as ONNX Runtime does, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import random

import numpy as np
import pytest

from agfedge_runtime.engines import OnnxRuntimeEngine
from agfedge_runtime.errors import BackendError
from fake_machine import FakeMachine
from fake_tensorrt import VERSIONS

STEPS = 200
OUTPUTS = {"light": ("probabilities", "confidence", "prior"), "heavy": ("probabilities", "unused")}


class Sequence:
    """Two engines, what they share, and what they must answer."""

    def __init__(self, machine: FakeMachine, tiny, dice: random.Random, **options: str | bool) -> None:
        self.machine, self.dice, self.options = machine, dice, options
        self.graphs = {"light": tiny.light(), "heavy": tiny.heavy()}
        self.engines = {name: self.opened(name) for name in self.graphs}
        self.references = {}
        for name, graph in self.graphs.items():
            path = tiny.folder / f"reference-{name}.onnx"
            path.write_bytes(graph)
            self.references[name] = OnnxRuntimeEngine(path)
        # What was shared, with the input that it holds; what was left on the device, with what it must be.
        self.shared: list[tuple[object, object]] = []
        self.left: list[tuple[object, dict[str, object]]] = []

    def opened(self, name: str):
        return self.machine.engine(self.graphs[name], f"{name}.onnx", batch=(1, 1, 4), **self.options)

    def batch(self):
        rows = self.dice.choice((1, 1, 1, 2, 3, 4, 7))
        return np.frombuffer(self.dice.randbytes(4 * rows), np.uint8).reshape(rows, 2, 2, 1)

    def wanted(self, name: str, x, outputs):
        return self.references[name].run({"x": x}, outputs)

    def some(self, name: str) -> tuple[str, ...]:
        return tuple(self.dice.sample(OUTPUTS[name], self.dice.randint(1, len(OUTPUTS[name]))))

    def run(self, name: str) -> None:
        x, outputs = self.batch(), self.some(name)
        same(self.engines[name].run({"x": x}, outputs), self.wanted(name, x, outputs))

    def share(self, name: str) -> None:
        x = self.batch()
        self.shared = [*self.shared[-2:], (self.engines[name].share({"x": x}), x)]

    def run_what_is_shared(self, name: str) -> None:
        if self.shared:
            (given, x), outputs = self.dice.choice(self.shared), self.some(name)
            same(self.engines[name].run(given, outputs), self.wanted(name, x, outputs))

    def leave(self, name: str) -> None:
        x, outputs = self.batch(), self.some(name)
        found = self.engines[name].run_shared({"x": x}, outputs)
        self.left = [*self.left[-2:], (found, dict(zip(outputs, self.wanted(name, x, outputs), strict=True)))]

    def read_what_was_left(self, name: str) -> None:
        for found, wanted in self.left:
            with contextlib.suppress(BackendError):
                output = self.dice.choice(tuple(wanted))
                same([found[output]], [wanted[output]])

    def reopen(self, name: str) -> None:
        self.machine.tensorrt.activation_bytes = self.dice.choice((0, 512, 4096, 70_000))
        self.engines[name].close()
        self.engines[name] = self.opened(name)

    def close(self) -> None:
        for engine in self.engines.values():
            engine.close()


def same(found, wanted) -> None:
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("share_activations", [True, False])
@pytest.mark.parametrize("memory", ["pinned", "mapped"])
@pytest.mark.parametrize("version", VERSIONS)
def test_a_random_sequence_is_answered_as_on_the_cpu(monkeypatch, tmp_path, tiny, version, memory, share_activations):
    machine = FakeMachine(monkeypatch, tmp_path, version, integrated=memory == "mapped")
    dice = random.Random(f"{version} {memory} {share_activations}")
    sequence = Sequence(machine, tiny, dice, memory=memory, share_activations=share_activations)
    steps = (
        *(sequence.run, sequence.share, sequence.run_what_is_shared) * 4,
        *(sequence.leave, sequence.read_what_was_left) * 2,
        sequence.reopen,
    )
    for _ in range(STEPS):
        dice.choice(steps)(dice.choice(("light", "heavy")))
    assert machine.gpu.launches > 0
    sequence.close()
    assert machine.gpu.left_over() == {}
    assert machine.tensorrt.live_contexts == machine.tensorrt.live_engines == 0
