"""What runs before either expert: the trunk that both share, and the prior, where there are such.

A front turns an input into what the experts are fed, and into the prior where decisions ask for one. Nothing is copied
on the way to the experts.
"""

from __future__ import annotations

from math import isfinite
from typing import cast

import numpy as np

from agfedge_runtime.arrays import AnyArray, Float32Array
from agfedge_runtime.bundle.manifest import InputSpec, Precision
from agfedge_runtime.cascade.checks import Feeds, bad_rows, input_probe, probed, require_names, require_rows
from agfedge_runtime.engines.protocol import Engine, sharing
from agfedge_runtime.errors import BackendError, InputError, NotFiniteError

# The prior of one row that was not asked for; made once and never written to.
NOT_COMPUTED: Float32Array = np.full(1, np.nan, np.float32)
NOT_COMPUTED.setflags(write=False)


class Front:
    """What an input passes before the experts.

    Args:
        spec: the bundle's input.
        parts: what the engines must be, in their precision.
        light: the light expert's engine.
        trunk: the engine of what both experts share; None where they take the input itself.
        prior: the engine of the prior; None where decisions ask none.

    Attributes:
        probe: what the experts are fed for two rows of zeros.

    Raises:
        BackendError: a graph does not have the inputs or outputs that the manifest says.
    """

    def __init__(
        self, spec: InputSpec, parts: Precision, light: Engine, trunk: Engine | None, prior: Engine | None
    ) -> None:
        experts, router = parts.experts, parts.router
        self._input = spec.name
        self._trunk = trunk
        self._features = () if experts.trunk is None else experts.trunk.outputs
        self._sharing = sharing(light if trunk is None else trunk)
        self._prior = prior
        self._prior_outputs = ("" if router.prior is None else router.prior.output,)
        given = {self._input: input_probe(spec)}
        if trunk is not None:
            require_names("trunk", trunk, (self._input,), self._features)
            for name, value in zip(self._features, trunk.run(given, self._features)):
                _require_features(name, value)
        self.probe: Feeds = self.feeds(given[self._input])
        self._prior_reads_input = trunk is None or (prior is not None and tuple(prior.input_names) == (self._input,))
        if prior is not None:
            read = self._shared(given) if self._prior_reads_input else self.probe
            (output,) = probed("prior", prior, read, self._prior_outputs)
            require_rows("prior", self._prior_outputs[0], output, ())

    def begin(self, x: AnyArray) -> tuple[Feeds, Float32Array]:
        """What the experts are fed, and the prior, float32 (N,); one NaN where decisions do not ask for it.

        Raises:
            NotFiniteError: the prior is not finite.
            BackendError: the engine refused.
        """
        shared: Feeds = {self._input: x}
        if self._sharing is not None:
            shared = self._sharing.share(shared)
        feeds = shared if self._trunk is None else self._features_of(shared)
        if self._prior is None:
            return feeds, NOT_COMPUTED
        return feeds, self._prior_of(self._prior, shared, feeds)

    def feeds(self, x: AnyArray) -> Feeds:
        """What the experts are fed, without the prior; raises as `begin` does."""
        return self._features_of(self._shared({self._input: x}))

    def prior(self, x: AnyArray) -> Float32Array:
        """The prior, float32 (N,); raises as `begin` does, and InputError where decisions ask none."""
        if self._prior is None:
            raise InputError("this bundle's decisions ask no prior; its light expert always runs first")
        given = {self._input: x}
        return self._prior_of(self._prior, given, given if self._prior_reads_input else self.feeds(x))

    def _shared(self, given: Feeds) -> Feeds:
        """The input where the first engine takes it from, and those beside it."""
        return given if self._sharing is None else self._sharing.share(given)

    def _features_of(self, shared: Feeds) -> Feeds:
        if self._trunk is None:
            return shared
        if self._sharing is not None:
            return self._sharing.run_shared(shared, self._features)
        return dict(zip(self._features, self._trunk.run(shared, self._features)))

    def _prior_of(self, engine: Engine, shared: Feeds, feeds: Feeds) -> Float32Array:
        (prior,) = engine.run(shared if self._prior_reads_input else feeds, self._prior_outputs)
        return _finite_prior(prior)


def _finite_prior(output: AnyArray) -> Float32Array:
    prior = cast("Float32Array", output)
    # A sum of squares is finite only if every term is; it needs no intermediate array.
    if not isfinite(np.vdot(prior, prior)):
        raise NotFiniteError(f"the prior is NaN or infinite for {bad_rows(prior)}; no answer is given")
    return prior


def _require_features(name: str, value: AnyArray) -> None:
    if value.ndim < 1 or value.shape[0] != 2:
        raise BackendError(
            f"the trunk answers {name} as {value.dtype} {value.shape} for two inputs, expected two rows; "
            "export the bundle again"
        )
