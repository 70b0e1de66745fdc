"""What runs before either expert: nothing but perhaps the prior, or the trunk that both share.

A front turns an input into what the experts are fed, and into the prior where decisions ask for one. With a trunk both
come from one run, and nothing is copied on the way to the experts.
"""

from __future__ import annotations

from math import isfinite
from typing import Mapping, Protocol, cast

import numpy as np

from agfedge_runtime.arrays import AnyArray, Float32Array
from agfedge_runtime.bundle.manifest import Manifest, Trunk
from agfedge_runtime.cascade.checks import bad_rows, input_probe, require_names, require_rows
from agfedge_runtime.engines import Engine
from agfedge_runtime.engines.protocol import sharing
from agfedge_runtime.errors import BackendError, InputError, NotFiniteError

Feeds = Mapping[str, AnyArray]

# The prior of one row that was not asked for; made once and never written to.
NOT_COMPUTED: Float32Array = np.full(1, np.nan, np.float32)
NOT_COMPUTED.setflags(write=False)


class Front(Protocol):
    """What an input passes before the experts.

    Attributes:
        probe: what the experts are fed for two rows of zeros.
    """

    probe: Feeds

    def begin(self, x: AnyArray) -> tuple[Feeds, Float32Array]:
        """What the experts are fed, and the prior, float32 (N,); one NaN where decisions do not ask for it.

        Raises:
            NotFiniteError: the prior is not finite.
            BackendError: the engine refused.
        """
        ...

    def feeds(self, x: AnyArray) -> Feeds:
        """What the experts are fed, without the prior; raises as `begin` does."""
        ...

    def prior(self, x: AnyArray) -> Float32Array:
        """The prior, float32 (N,); raises as `begin` does, and InputError where the bundle has none."""
        ...


class DirectFront:
    """The experts take the input itself; the prior is an output of the light graph, which it does not run.

    Args:
        light: the light expert's engine.
        manifest: what it must be.
        asks_prior: whether decisions ask for the prior.
        prior: an engine of the prior alone, where the light engine would run the expert for it.

    Raises:
        BackendError: the graph does not have the input or the prior that the manifest says.
    """

    def __init__(self, light: Engine, manifest: Manifest, asks_prior: bool, prior: Engine | None = None) -> None:
        self._engine = light if prior is None else prior
        self._sharing = sharing(light)
        self._input = manifest.input.name
        self._asks_prior = asks_prior
        self._prior = _prior_outputs(manifest)
        require_names("light", light, (self._input,), self._prior)
        self.probe: Feeds = self.feeds(input_probe(manifest))
        for name in self._prior:
            require_rows("light", name, self._engine.run(self.probe, self._prior)[0], ())

    def begin(self, x: AnyArray) -> tuple[Feeds, Float32Array]:
        """See `Front.begin`."""
        feeds = self.feeds(x)
        return feeds, self._prior_of(feeds) if self._asks_prior else NOT_COMPUTED

    def feeds(self, x: AnyArray) -> Feeds:
        """See `Front.feeds`."""
        given = {self._input: x}
        return given if self._sharing is None else self._sharing.share(given)

    def prior(self, x: AnyArray) -> Float32Array:
        """See `Front.prior`."""
        _require_prior(self._prior)
        return self._prior_of({self._input: x})

    def _prior_of(self, feeds: Feeds) -> Float32Array:
        return _finite_prior(self._engine.run(feeds, self._prior)[0])


class TrunkFront:
    """The experts take the features of a trunk, which also holds the prior.

    Raises:
        BackendError: the graph does not have the input, the features or the prior that the manifest says.
    """

    def __init__(self, engine: Engine, manifest: Manifest, trunk: Trunk, asks_prior: bool) -> None:
        self._engine = engine
        self._sharing = sharing(engine)
        self._input = manifest.input.name
        self._features = trunk.outputs
        self._prior = _prior_outputs(manifest)
        self._with_prior = (*self._features, *self._prior)
        self._asks_prior = asks_prior
        require_names("trunk", engine, (self._input,), self._with_prior)
        found = engine.run({self._input: input_probe(manifest)}, self._with_prior if asks_prior else self._features)
        for name, value in zip(self._features, found):
            _require_features(name, value)
        if asks_prior:
            require_rows("trunk", self._prior[0], found[-1], ())
        # From the run that decisions make: another set of outputs would be another session in memory.
        self.probe: Feeds = dict(zip(self._features, found))

    def begin(self, x: AnyArray) -> tuple[Feeds, Float32Array]:
        """See `Front.begin`."""
        given = {self._input: x}
        shared = given if self._sharing is None else self._sharing.share(given)
        if self._sharing is not None and shared is not given:
            return self._sharing.run_shared(shared, self._features), self._shared_prior(shared)
        found = self._engine.run(given, self._with_prior if self._asks_prior else self._features)
        prior = _finite_prior(found[-1]) if self._asks_prior else NOT_COMPUTED
        return dict(zip(self._features, found)), prior

    def feeds(self, x: AnyArray) -> Feeds:
        """See `Front.feeds`."""
        given = {self._input: x}
        if self._sharing is not None:
            return self._sharing.run_shared(given, self._features)
        return dict(zip(self._features, self._engine.run(given, self._features)))

    def prior(self, x: AnyArray) -> Float32Array:
        """See `Front.prior`; the features are computed along with it, as in a decision."""
        _require_prior(self._prior)
        return _finite_prior(self._engine.run({self._input: x}, self._with_prior)[-1])

    def _shared_prior(self, shared: Feeds) -> Float32Array:
        # The run that made the features made it, too.
        return _finite_prior(self._engine.run(shared, self._prior)[0]) if self._asks_prior else NOT_COMPUTED


def _prior_outputs(manifest: Manifest) -> tuple[str, ...]:
    rule = manifest.router.prior
    return () if rule is None else (rule.output,)


def _require_prior(outputs: tuple[str, ...]) -> None:
    if not outputs:
        raise InputError("this bundle has no prior; its light expert always runs first")


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
