"""One pass, forward and backward, for every score of feature maps and their gradients.

What a score says of a group's channel is added up over the places where the channel is read (a residual stream is read
in many), and averaged over samples. Each place is the feature map as the next linear layer reads it, after
normalisation and activation; where that layer reads a flattened map, all of a channel's entries are its positions.

Only sums are kept. The gradient of each map is used where the backward pass makes it, and dropped. The products over
positions are made and added up in float32: the map and its gradient are float32 already, each with a rounding of its
own of the same size in every entry, so that a wider sum of them would be no nearer to the truth. Sums over places and
samples are float64.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING

import numpy as np

from agfedge.scores.inputs import Batch, Drawn, draw
from agfedge.scores.program import Place, TorchProgram, UnitIndex, find_places
from agfedge_runtime.errors import InputError

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from agfedge.scores.inputs import ScoreInputs, Scores
    from agfedge_export import ChannelGroups

    Sums = dict[str, NDArray[np.float64]]
    Totals = dict[tuple[str, str], torch.Tensor]
    # Takes a value and the gradient with respect to it.
    Felt = Callable[[torch.Tensor, torch.Tensor], None]
    Finish = Callable[[torch.Tensor], torch.Tensor]

GradientFunction = Callable[["ChannelGradients"], "torch.Tensor"]


@dataclass(frozen=True, eq=False)
class ChannelGradients:
    """A feature map, and the gradient of each sample's loss with respect to it.

    Attributes:
        y: float32 (B, channels, positions); a channel with fewer positions than others is filled with zeros.
        dy: likewise; the loss is the sum of the samples' cross-entropies, so that each sample's gradient is its own.
    """

    y: torch.Tensor
    dy: torch.Tensor

    @cached_property
    def product(self) -> torch.Tensor:
        """Y * dL/dY, (B, channels, positions)."""
        return self.y * self.dy

    @cached_property
    def signed(self) -> torch.Tensor:
        """The sum over positions of Y * dL/dY, float64 (B, channels): minus the first-order change as it goes."""
        return self.product.sum(dim=2).double()


@dataclass(frozen=True)
class GradientScore:
    """A score of feature maps and their gradients.

    Attributes:
        place: from a feature map to (B, C), what each sample says of each channel there; places add up.
        finish: applied to those sums, (B, C) of a whole group, before the mean over samples; None leaves them.
    """

    place: GradientFunction
    finish: Finish | None = None


@dataclass(frozen=True, eq=False)
class _Reading:
    """Where the channels of one group are read in a node's value."""

    group: str
    size: int
    place: Place
    index: UnitIndex

    def channels(self, value: torch.Tensor, samples: int) -> torch.Tensor:
        return self.index.gathered(self.place.arranged(value, samples))


def gradient_pass(scores: Mapping[str, GradientScore], inputs: ScoreInputs) -> dict[str, Scores]:
    """Runs the calibration inputs forward and backward once.

    A map that is made of parameters alone is one sample, with the mean of the gradients.

    Returns:
        For each score, for each group's name, float64 (size,).

    Raises:
        InputError: no torch program, no labelled data, labels outside the head's classes, a loss that is not finite,
            or a group whose channels no gradient reaches.
    """
    drawn = draw(inputs)
    program = TorchProgram(drawn.export, inputs.groups.analysis.tracer.view)
    _check_labels(drawn, program.classes)
    job = _Pass(scores, inputs.groups, program, drawn.x)
    for batch in drawn.batches():
        job.add(batch)
    sums = drawn.team.sum(job.sums)
    return job.means(sums, len(drawn.rows))


class _Pass:
    """The sums of one pass over the data, by name, so that processes can add theirs up.

    "agf/conv1.weight" is what a score says of a group; no score's name is empty, so that "/value/conv1" and the like,
    which hold what is noted of a group or a node, are names of their own.
    """

    def __init__(
        self, scores: Mapping[str, GradientScore], groups: ChannelGroups, program: TorchProgram, x: NDArray[np.float32]
    ) -> None:
        self._scores, self._program = scores, program
        self._sizes = {group.name: group.size for group in groups.groups}
        self._readings = _readings(groups, program, x)
        self.sums: Sums = {f"{name}/{group}": np.zeros(size) for name in scores for group, size in self._sizes.items()}
        self.sums |= {f"/reached/{group}": np.zeros(1) for group in self._sizes}
        for name in self._made_of_parameters():
            shape = [int(size) for size in program.shape(name)]
            self.sums |= {f"/runs/{name}": np.zeros(1)}
            self.sums |= {f"/{kind}/{name}": np.zeros(shape) for kind in ("value", "gradient")}

    def add(self, batch: Batch) -> None:
        """Adds a batch's share to the sums.

        Raises:
            InputError: the loss is not finite.
        """
        import torch

        totals: Totals = {}
        # A leaf that every map hangs on: the gradient then flows to each, whether or not it depends on a parameter.
        probe = torch.zeros((), requires_grad=True)

        def watch(name: str, value: torch.Tensor) -> torch.Tensor:
            return probed(value, probe, lambda y, dy: self._felt(totals, name, y, dy, len(batch.x)))

        with torch.enable_grad():
            loss = _loss(self._program.run(batch.x, self._readings, watch), batch)
        if loss.requires_grad:
            torch.autograd.grad(loss, [probe], allow_unused=True)
        self._add_totals(totals)

    def _felt(self, totals: Totals, name: str, y: torch.Tensor, dy: torch.Tensor, samples: int) -> None:
        """Takes a node's value and its gradient, as the backward pass comes by."""
        for reading in self._readings[name]:
            self.sums[f"/reached/{reading.group}"] += 1
        if f"/gradient/{name}" in self.sums:
            self.sums[f"/runs/{name}"] += 1
            self.sums[f"/value/{name}"] += y.double().numpy()
            self.sums[f"/gradient/{name}"] += dy.double().numpy()
        else:
            self._score(totals, name, y, dy, samples)

    def _score(self, totals: Totals, name: str, y: torch.Tensor, dy: torch.Tensor, samples: int) -> None:
        import torch

        for reading in self._readings[name]:
            at = ChannelGradients(reading.channels(y, samples), reading.channels(dy, samples))
            units = torch.from_numpy(reading.index.units)
            for score, kind in self._scores.items():
                said = kind.place(at)
                if said.shape != at.y.shape[:2]:
                    raise ValueError(f"score {score!r} returned {tuple(said.shape)}, expected {tuple(at.y.shape[:2])}")
                zeros = torch.zeros(samples, reading.size, dtype=torch.float64)
                totals.setdefault((score, reading.group), zeros).index_add_(1, units, said.double())

    def _add_totals(self, totals: Totals, weight: float = 1) -> None:
        for (score, group), total in totals.items():
            finish = self._scores[score].finish
            self.sums[f"{score}/{group}"] += weight * (finish(total) if finish else total).sum(dim=0).numpy()

    def _made_of_parameters(self) -> list[str]:
        return [name for name, readings in self._readings.items() if readings[0].place.batch is None]

    def means(self, sums: Sums, samples: int) -> dict[str, Scores]:
        """Returns the means over the samples of all processes, whose sums are given.

        Raises:
            InputError: a group whose channels no gradient reaches.
        """
        import torch

        self.sums = sums
        silent = [group for group in self._sizes if not sums[f"/reached/{group}"].any()]
        if silent:
            raise InputError(
                f"no gradient reaches the channels of {silent[0]}: use a score that needs none (l1, l2), or find what "
                "detaches them in the model's code"
            )
        for name in self._made_of_parameters():
            totals: Totals = {}
            y, dy = sums[f"/value/{name}"] / np.maximum(1, sums[f"/runs/{name}"]), sums[f"/gradient/{name}"] / samples
            self._score(totals, name, torch.from_numpy(y), torch.from_numpy(dy), samples=1)
            self._add_totals(totals, samples)
        return {score: {group: sums[f"{score}/{group}"] / samples for group in self._sizes} for score in self._scores}


def _readings(groups: ChannelGroups, program: TorchProgram, x: NDArray[np.float32]) -> dict[str, list[_Reading]]:
    """Returns what is read in each node's value."""
    sites = [(group, site) for group in groups.groups for site in group.sites]
    wanted = [(site.tensor, site.axes, site.units.shape) for _, site in sites]
    places = find_places(program, wanted, x)
    readings: dict[str, list[_Reading]] = {}
    for (group, site), where in zip(sites, wanted, strict=True):
        if where in places:
            node, place = places[where]
            readings.setdefault(node, []).append(_Reading(group.name, group.size, place, UnitIndex.of(site.units)))
    return readings


def _check_labels(drawn: Drawn, classes: int) -> None:
    if drawn.y is None:
        raise InputError("a score of gradients needs labels: use one of activations (wanda, ria, flap) or of weights")
    if len(drawn.y) != len(drawn.x):
        raise InputError(f"there are {len(drawn.y)} labels for {len(drawn.x)} inputs: expected one for each")
    lowest, highest = int(drawn.y[drawn.rows].min()), int(drawn.y[drawn.rows].max())
    if lowest < 0:
        raise InputError(f"a label is {lowest}: expected 0 to {classes - 1}")
    if highest >= classes:
        raise InputError(f"a label is {highest}: the model's head has {classes} classes")


def _loss(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Returns the sum of the samples' cross-entropies.

    Raises:
        InputError: it is not finite.
    """
    import torch

    loss = torch.nn.functional.cross_entropy(logits, batch.y, reduction="sum")
    if not torch.isfinite(loss):
        raise InputError(f"the loss is {loss.item()} in batch {batch.number}: check the weights and the data for NaN")
    return loss


def probed(value: torch.Tensor, leaf: torch.Tensor, felt: Felt) -> torch.Tensor:
    """Returns a value unchanged; as the backward pass comes by, `felt` is told.

    Args:
        value: of floating point.
        leaf: requires a gradient; asking autograd for its gradient brings the backward pass to every probe on it.
        felt: is given the value and its gradient, which are not kept.
    """
    made: torch.Tensor = _function().apply(value, leaf, felt)  # type: ignore[no-untyped-call]  # torch's own
    return made


@cache
def _function() -> type[torch.autograd.Function]:
    import torch

    class GradientProbe(torch.autograd.Function):
        @staticmethod
        def forward(
            ctx: torch.autograd.function.FunctionCtx, value: torch.Tensor, _leaf: torch.Tensor, felt: Felt
        ) -> torch.Tensor:
            ctx.save_for_backward(value)
            ctx.felt = felt  # type: ignore[attr-defined]  # a context takes what one gives it
            return value.view_as(value)

        @staticmethod
        def backward(
            ctx: torch.autograd.function.FunctionCtx, gradient: torch.Tensor
        ) -> tuple[torch.Tensor, None, None]:
            (value,) = ctx.saved_tensors  # type: ignore[attr-defined]
            ctx.felt(value.detach(), gradient)  # type: ignore[attr-defined]
            return gradient, None, None

    return GradientProbe
