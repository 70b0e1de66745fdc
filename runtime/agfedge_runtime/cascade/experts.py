"""The two experts: an engine each, what it is asked for, and the checks that every answer passes.

An answer with NaN or infinity is never passed on. Probabilities are checked whichever way an input then goes,
because ONNX leaves open what a ReduceMax makes of NaN: a confidence may look sound where they are not.
"""

from __future__ import annotations

from math import isfinite
from typing import cast

import numpy as np

from agfedge_runtime.arrays import AnyArray, Float32Array
from agfedge_runtime.bundle.manifest import Manifest
from agfedge_runtime.cascade.checks import Feeds, bad_rows, probed, require_rows
from agfedge_runtime.engines.protocol import Engine
from agfedge_runtime.errors import NotFiniteError

PROBABILITIES = "probabilities"

# A confidence computed in float32 may miss [0, 1] by rounding.
_ROUNDING = 1e-5


class HeavyEngine:
    """The accurate expert.

    Args:
        engine: its graph.
        manifest: what it must be.
        probe: what it is fed for two inputs.

    Raises:
        BackendError: the graph does not have the inputs or outputs that the manifest says.
    """

    def __init__(self, engine: Engine, manifest: Manifest, probe: Feeds) -> None:
        self._engine = engine
        (probabilities,) = probed("heavy", engine, probe, (PROBABILITIES,))
        require_rows("heavy", PROBABILITIES, probabilities, (len(manifest.classes),))

    def answer(self, feeds: Feeds) -> Float32Array:
        """Probabilities, float32 (N, C).

        Raises:
            NotFiniteError: one of them is NaN or infinite.
            BackendError: the engine refused.
        """
        (probabilities,) = self._engine.run(feeds, (PROBABILITIES,))
        return _finite_probabilities(probabilities, "heavy")


class LightEngine:
    """The quick expert, with its confidence.

    Args:
        engine: its graph.
        manifest: what it must be.
        confidence: name of the output that holds it.
        probe: what it is fed for two inputs.

    Raises:
        BackendError: the graph does not have the inputs or outputs that the manifest says.
    """

    def __init__(self, engine: Engine, manifest: Manifest, confidence: str, probe: Feeds) -> None:
        self._engine = engine
        self._outputs = (PROBABILITIES, confidence)
        probabilities, confidences = probed("light", engine, probe, self._outputs)
        require_rows("light", PROBABILITIES, probabilities, (len(manifest.classes),))
        require_rows("light", confidence, confidences, ())

    def answer(self, feeds: Feeds) -> tuple[Float32Array, Float32Array]:
        """Probabilities, float32 (N, C), and confidence, float32 (N,).

        Raises:
            NotFiniteError: a probability is not finite, or a confidence outside [0, 1].
            BackendError: the engine refused.
        """
        probabilities, confidence = self._engine.run(feeds, self._outputs)
        checked = _finite_probabilities(probabilities, "light")
        return checked, _unit_confidence(cast("Float32Array", confidence))


def _finite_probabilities(output: AnyArray, expert: str) -> Float32Array:
    probabilities = cast("Float32Array", output)
    if not isfinite(np.vdot(probabilities, probabilities)):
        raise NotFiniteError(
            f"the {expert} expert answered NaN or infinity for {bad_rows(probabilities)}; "
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
