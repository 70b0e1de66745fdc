"""The two experts: an engine each, what it is asked for, and the checks that every answer passes.

An answer with NaN or infinity is never passed on. Probabilities are checked whichever way an input then goes,
because ONNX leaves open what a ReduceMax makes of NaN: a confidence may look sound where they are not.
"""

from __future__ import annotations

from math import isfinite
from typing import cast

import numpy as np

from agfedge_runtime.arrays import AnyArray, Float32Array
from agfedge_runtime.engines import Engine
from agfedge_runtime.errors import BackendError, InputError, NotFiniteError
from agfedge_runtime.manifest import Manifest

PROBABILITIES = "probabilities"

# A confidence computed in float32 may miss [0, 1] by rounding.
_ROUNDING = 1e-5
# The square of more is infinite in float32.
_LARGEST = 1e19


class HeavyExpert:
    """The accurate expert.

    Raises:
        BackendError: the graph does not have the input or outputs that the manifest says.
    """

    def __init__(self, engine: Engine, manifest: Manifest) -> None:
        self._engine = engine
        self._input = manifest.input.name
        _require_names("heavy", engine, self._input, (PROBABILITIES,))
        outputs = engine.run({self._input: _probe(manifest)}, (PROBABILITIES,))
        _require_rows("heavy", PROBABILITIES, outputs[0], (len(manifest.classes),))

    def answer(self, x: AnyArray) -> Float32Array:
        """Probabilities, float32 (N, C).

        Raises:
            NotFiniteError: one of them is NaN or infinite.
            BackendError: the engine refused.
        """
        (probabilities,) = self._engine.run({self._input: x}, (PROBABILITIES,))
        return _finite_probabilities(probabilities, "heavy")


class LightExpert:
    """The quick expert, with its confidence and the prior that comes before it.

    Raises:
        BackendError: the graph does not have the input or outputs that the manifest says.
    """

    def __init__(self, engine: Engine, manifest: Manifest) -> None:
        self._engine = engine
        self._input = manifest.input.name
        self._outputs = (PROBABILITIES, manifest.router.confidence.output)
        rule = manifest.router.prior
        self._prior = () if rule is None else (rule.output,)
        _require_names("light", engine, self._input, (*self._outputs, *self._prior))
        self._check_shapes(manifest)

    def answer(self, x: AnyArray) -> tuple[Float32Array, Float32Array]:
        """Probabilities, float32 (N, C), and confidence, float32 (N,).

        Raises:
            NotFiniteError: a probability is not finite, or a confidence outside [0, 1].
            BackendError: the engine refused.
        """
        probabilities, confidence = self._engine.run({self._input: x}, self._outputs)
        checked = _finite_probabilities(probabilities, "light")
        return checked, _unit_confidence(cast("Float32Array", confidence))

    def prior(self, x: AnyArray) -> Float32Array:
        """The prior, float32 (N,), without running the expert.

        Raises:
            NotFiniteError: it is not finite.
            InputError: this bundle has no prior.
            BackendError: the engine refused.
        """
        if not self._prior:
            raise InputError("this bundle has no prior; its light expert always runs first")
        prior = cast("Float32Array", self._engine.run({self._input: x}, self._prior)[0])
        # A sum of squares is finite only if every term is; it needs no intermediate array.
        if not isfinite(np.vdot(prior, prior)):
            raise NotFiniteError(f"the prior is NaN or infinite for {_bad_rows(prior)}; no answer is given")
        return prior

    def _check_shapes(self, manifest: Manifest) -> None:
        probe = {self._input: _probe(manifest)}
        probabilities, confidence = self._engine.run(probe, self._outputs)
        _require_rows("light", PROBABILITIES, probabilities, (len(manifest.classes),))
        _require_rows("light", self._outputs[1], confidence, ())
        for name in self._prior:
            _require_rows("light", name, self._engine.run(probe, self._prior)[0], ())


def _probe(manifest: Manifest) -> AnyArray:
    """Two rows of zeros: two, so that a graph whose batch is frozen shows itself."""
    return np.zeros((2, *manifest.input.row_shape), manifest.input.dtype)


def _require_names(expert: str, engine: Engine, source: str, outputs: tuple[str, ...]) -> None:
    if engine.input_names != (source,):
        raise BackendError(
            f"the {expert} graph has the inputs {', '.join(engine.input_names) or 'none'}, "
            f"expected {source} as the manifest says; export the bundle again"
        )
    for name in outputs:
        if name not in engine.output_names:
            raise BackendError(
                f"the {expert} graph has the outputs {', '.join(engine.output_names) or 'none'}, "
                f"expected {name} among them; export the bundle again"
            )


def _require_rows(expert: str, name: str, output: AnyArray, row: tuple[int, ...]) -> None:
    if output.dtype != np.float32 or output.shape != (2, *row):
        raise BackendError(
            f"the {expert} graph answers {name} as {output.dtype} {output.shape} for two inputs, "
            f"expected float32 {(2, *row)}; export the bundle again"
        )


def _finite_probabilities(output: AnyArray, expert: str) -> Float32Array:
    probabilities = cast("Float32Array", output)
    if not isfinite(np.vdot(probabilities, probabilities)):
        raise NotFiniteError(
            f"the {expert} expert answered NaN or infinity for {_bad_rows(probabilities)}; "
            "no answer is given, check its weights and the input"
        )
    return probabilities


def _unit_confidence(confidence: Float32Array) -> Float32Array:
    if len(confidence) == 1 and -_ROUNDING <= confidence.item() <= 1 + _ROUNDING:
        return confidence
    sound = (confidence >= -_ROUNDING) & (confidence <= 1 + _ROUNDING)
    if not sound.all():
        raise NotFiniteError(
            f"the light expert's confidence is {confidence[~sound][0]}, expected 0 to 1; no answer is given, "
            "check its weights and the input"
        )
    return confidence


def _bad_rows(output: Float32Array) -> str:
    sound = (np.abs(output) < _LARGEST).reshape(len(output), -1).all(axis=1)
    return f"{int((~sound).sum())} of {len(output)} inputs"
