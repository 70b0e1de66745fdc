"""The table of channel scores, by name, and the way from names to scores.

There are three kinds, each with its decorator. They differ in what a score looks at, and so in what is shared:

    @score("l1")              the graph's weights, or nothing at all
    @activation_score("flap") statistics of feature maps: one pass over the data serves all scores of this kind
    @gradient_score("agf")    feature maps and the loss's gradients there: one pass serves all of this kind

A package of one's own registers scores under the entry point group `agfedge.scores`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from agfedge.base.requests import suggestion
from agfedge.scores.activation import activation_pass
from agfedge.scores.gradient import GradientScore, gradient_pass
from agfedge.scores.inputs import ScoreInputs, Scores
from agfedge_runtime.errors import InputError

if TYPE_CHECKING:
    from agfedge.scores.activation import Activations
    from agfedge.scores.gradient import Finish, GradientFunction
    from agfedge_export import ChannelGroups

ScoreFunction = Callable[[ScoreInputs], Scores]
ActivationFunction = Callable[["Activations"], Scores]
F = TypeVar("F", bound=Callable[..., object])


_FAMILIES = ("of_weights", "of_activations", "of_gradients")
_WEIGHTS: dict[str, ScoreFunction] = {}
_ACTIVATIONS: dict[str, ActivationFunction] = {}
_GRADIENTS: dict[str, GradientScore] = {}


def _registering(name: str, put: Callable[[F], None]) -> Callable[[F], F]:
    """Returns a decorator that puts a function under a free name."""

    def register(function: F) -> F:
        if name in _WEIGHTS or name in _ACTIVATIONS or name in _GRADIENTS:
            raise ValueError(f"score {name!r} is registered already")
        if not name or not all(letter.isalnum() or letter in "_-." for letter in name):
            raise ValueError(f"a score cannot be called {name!r}: expected letters, digits, '_', '-' and '.'")
        put(function)
        return function

    return register


def score(name: str) -> Callable[[ScoreFunction], ScoreFunction]:
    """Registers a score that needs no data: for each group's name float64 (size,), higher is worth more.

    Raises:
        ValueError: the name is taken, or holds other than letters, digits, `_`, `-` and `.`.
    """
    return _registering(name, lambda function: _WEIGHTS.__setitem__(name, function))


def activation_score(name: str) -> Callable[[ActivationFunction], ActivationFunction]:
    """Registers a score of streamed statistics of feature maps; it returns what a `score` does.

    Raises:
        ValueError: as `score`.
    """
    return _registering(name, lambda function: _ACTIVATIONS.__setitem__(name, function))


def gradient_score(name: str, finish: Finish | None = None) -> Callable[[GradientFunction], GradientFunction]:
    """Registers a score of a feature map and its gradient, in one place: returns a floating tensor (B, C).

    What the places of a group say adds up; `finish` is applied to the sums (B, C); their mean over samples counts.

    Raises:
        ValueError: as `score`.
    """
    return _registering(name, lambda function: _GRADIENTS.__setitem__(name, GradientScore(function, finish)))


@cache
def _load() -> None:
    for family in _FAMILIES:
        import_module(f"agfedge.scores.{family}")
    for entry in entry_points(group="agfedge.scores"):
        entry.load()


def score_names() -> list[str]:
    """Returns the known scores, sorted."""
    _load()
    return sorted([*_WEIGHTS, *_ACTIVATIONS, *_GRADIENTS])


def bare_score_names() -> list[str]:
    """Returns the scores that need neither the torch model nor data, sorted."""
    _load()
    return sorted(_WEIGHTS)


def check_score(name: str) -> None:
    """Refuses a score that nobody registered.

    Raises:
        InputError: lists the known ones.
    """
    known = score_names()
    if name not in known:
        raise InputError(f"no score is called {name!r}{suggestion(name, known)}: expected one of {', '.join(known)}")


def score_groups(name: str, inputs: ScoreInputs) -> Scores:
    """Scores every channel of every group by one score; see `score_many`."""
    return score_many([name], inputs)[name]


def score_many(names: Sequence[str], inputs: ScoreInputs) -> dict[str, Scores]:
    """Scores every channel of every group by several scores.

    However many are asked for, the data is run through once for the scores of activations, and once, forward and
    backward, for the scores of gradients. In a team every process gets the same scores.

    Returns:
        For each name, for each group's name, float64 (size,): higher is worth more.

    Raises:
        InputError: an unknown score (the known ones are listed), data that does not fit, or a score that is not
            finite.
    """
    for name in names:
        check_score(name)
    scores = {name: _WEIGHTS[name](inputs) for name in names if name in _WEIGHTS}
    activations = {name: _ACTIVATIONS[name] for name in names if name in _ACTIVATIONS}
    gradients = {name: _GRADIENTS[name] for name in names if name in _GRADIENTS}
    if (activations or gradients) and (inputs.export is None or inputs.x is None):
        *others, last = bare_score_names()
        raise InputError(
            f"this score needs the torch model and its data: use {', '.join(others)} or {last} for a bare graph"
        )
    if activations:
        statistics = activation_pass(inputs)
        scores |= {name: function(statistics) for name, function in activations.items()}
    if gradients:
        scores |= gradient_pass(gradients, inputs)
    return {name: _checked(name, scores[name], inputs.groups) for name in names}


def _checked(name: str, scores: Scores, groups: ChannelGroups) -> Scores:
    """Refuses scores that are not finite.

    Raises:
        ValueError: the score's own code returned other groups or sizes.
    """
    sizes = {group.name: (group.size,) for group in groups.groups}
    if {group: values.shape for group, values in scores.items()} != sizes:
        raise ValueError(f"score {name!r} returned other groups or sizes than the model has")
    for group, values in scores.items():
        if not np.isfinite(values).all():
            raise InputError(
                f"score {name!r} is not finite for group {group!r}: check the weights and the data for NaN"
            )
    return scores
