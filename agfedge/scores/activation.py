"""One pass, forward alone, for every score of feature maps: mean and variance of each channel, streamed.

The statistics run over samples and positions. They are merged batch by batch, and process by process, in float64
(Chan, Golub and LeVeque, "Algorithms for Computing the Sample Variance", 1983), which loses nothing where the mean is
large beside the variance. No map outlives the layer that reads it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from agfedge.scores.inputs import draw
from agfedge.scores.program import TorchProgram, find_places
from agfedge_runtime.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch
    from numpy.typing import NDArray

    from agfedge.base.distributed import Team
    from agfedge.scores.inputs import ScoreInputs, Scores
    from agfedge.scores.program import Place, Where
    from agfedge_export import ChannelGroups, Site
    from agfedge_export.graph.view import GraphView, NodeView


@dataclass(frozen=True, eq=False)
class Moments:
    """Statistics of a feature map's channels.

    Attributes:
        count: of samples times positions.
        mean: float64 (channels,).
        scatter: float64 (channels,), the sum of squared distances from the mean.
    """

    count: float
    mean: NDArray[np.float64]
    scatter: NDArray[np.float64]

    @classmethod
    def none(cls, channels: int) -> Moments:
        """Returns those of no map yet."""
        return cls(0, np.zeros(channels), np.zeros(channels))

    @classmethod
    def of(cls, value: torch.Tensor, weight: int = 1) -> Moments:
        """Takes those of a map (B, channels, positions), each of whose samples counts `weight` times.

        What is added up over positions in float32 are distances from the mean, and their squares: a rounding of them
        is small beside the variance, however large the mean.
        """
        entries = value.shape[0] * value.shape[2]
        near = value.mean(dim=2).mean(dim=0)
        apart = value - near[:, None]
        total = apart.sum(dim=2).double().sum(dim=0).numpy()
        squares = apart.square().sum(dim=2).double().sum(dim=0).numpy()
        mean = near.double().numpy() + total / entries
        return cls(weight * entries, mean, weight * (squares - total**2 / entries))

    @property
    def squares(self) -> NDArray[np.float64]:
        """The sum of squares, float64 (channels,)."""
        return self.scatter + self.count * self.mean**2

    @property
    def variance(self) -> NDArray[np.float64]:
        """The sample variance (divided by the count less one), float64 (channels,); zero of a single value."""
        return self.scatter / max(1.0, self.count - 1)

    def merged(self, other: Moments) -> Moments:
        """Returns the statistics of both together."""
        count = self.count + other.count
        apart = other.mean - self.mean
        mean = self.mean + apart * (other.count / count)
        scatter = self.scatter + other.scatter + apart**2 * (self.count * other.count / count)
        return Moments(count, mean, scatter)


@dataclass(frozen=True, eq=False)
class LinearLayer:
    """A node that multiplies channels by a constant weight: Conv, ConvTranspose, Gemm or MatMul.

    Attributes:
        node: the node.
        data: name of the feature map that it reads.
        axis: the axis of its channels there.
        parts: number of groups of a grouped convolution; one for all others.
        inputs: int64 (input channels,), each one's unit counted through all channel groups; -1 where it is kept whole.
        outputs: int64 (output channels,), likewise.
    """

    node: NodeView
    data: str
    axis: int
    parts: int
    inputs: NDArray[np.int64]
    outputs: NDArray[np.int64]
    _view: GraphView = field(repr=False)

    @property
    def where(self) -> Where:
        """The feature map that the layer reads, and the axis and number of its channels."""
        return self.data, (self.axis,), (len(self.inputs),)

    def weights(self) -> NDArray[np.float64]:
        """Returns the weights, (parts, outputs of a part, inputs of a part, kernel positions); made anew each time."""
        position, transposed = _weight_of(self._view, self.node)
        value = _value(self._view, self.node.inputs[position])
        if self.node.op == "ConvTranspose":
            shape = (self.parts, len(self.inputs) // self.parts, len(self.outputs) // self.parts, -1)
            return value.reshape(shape).swapaxes(1, 2).astype(np.float64)
        matrix = value.T if transposed else value
        shape = (self.parts, len(self.outputs) // self.parts, len(self.inputs) // self.parts, -1)
        return matrix.reshape(shape).astype(np.float64)


@dataclass(frozen=True, eq=False)
class Activations:
    """What a score of feature maps may look at.

    Attributes:
        groups: the channel groups.
        layers: the linear layers that produce or read their channels.
        moments: for each map that is read, by its ONNX name, the axes that channels run along, and their sizes.
    """

    groups: ChannelGroups
    layers: tuple[LinearLayer, ...]
    moments: Mapping[Where, Moments]

    def of_layer(self, layer: LinearLayer) -> Moments | None:
        """Returns the statistics of a layer's input channels; None where torch has no such map."""
        return self.moments.get(layer.where)

    def of_site(self, site: Site) -> Moments | None:
        """Returns the statistics of a place where channels are read; None where torch has no such map."""
        return self.moments.get(_where(site))

    def by_group(self, units: list[NDArray[np.int64]], values: list[NDArray[np.float64]], name: str) -> Scores:
        """Adds values up by unit.

        Args:
            units: for each array its units, counted through all groups; -1 for none.
            values: of equal shapes.
            name: of the score, for messages.

        Raises:
            InputError: a group of whose units not one has a value.
        """
        offsets = self.groups.offsets()
        total, covered = np.zeros(offsets[-1]), np.zeros(offsets[-1], dtype=bool)
        for own, value in zip(units, values, strict=True):
            np.add.at(total, own[own >= 0], value[own >= 0])
            covered[own[own >= 0]] = True
        for group, start, stop in zip(self.groups.groups, offsets[:-1], offsets[1:], strict=True):
            if not covered[start:stop].any():
                raise InputError(
                    f"{name} finds no linear layer at the channels of {group.name}: use one that needs none (l1, l2)"
                )
        parts = np.split(total, offsets[1:-1])
        return {group.name: part for group, part in zip(self.groups.groups, parts, strict=True)}


def activation_pass(inputs: ScoreInputs) -> Activations:
    """Runs the calibration inputs forward once.

    Raises:
        InputError: no torch program, no data, or less of it than one batch.
    """
    import torch

    drawn = draw(inputs)
    program = TorchProgram(drawn.export, inputs.groups.analysis.tracer.view)
    layers = linear_layers(inputs.groups)
    sites = [_where(site) for group in inputs.groups.groups for site in group.sites]
    places = find_places(program, [*sites, *(layer.where for layer in layers)], drawn.x)
    by_node: dict[str, list[tuple[Where, Place]]] = {}
    for where, (node, place) in places.items():
        by_node.setdefault(node, []).append((where, place))
    moments = {where: Moments.none(int(np.prod(where[2]))) for where in places}
    for batch in drawn.batches():

        def watch(name: str, value: torch.Tensor, samples: int = len(batch.x)) -> torch.Tensor:
            for where, place in by_node[name]:
                weight = samples if place.batch is None else 1
                moments[where] = moments[where].merged(Moments.of(place.arranged(value, samples), weight))
            return value

        with torch.no_grad():
            program.run(batch.x, by_node, watch)
    return Activations(inputs.groups, layers, _of_team(moments, inputs.team))


def _where(site: Site) -> Where:
    return site.tensor, site.axes, site.units.shape


def _of_team(moments: Mapping[Where, Moments], team: Team) -> dict[Where, Moments]:
    """Merges the statistics of all processes: first the mean, then the distances from it."""
    if team.size == 1:
        return dict(moments)
    names = {where: str(number) for number, where in enumerate(sorted(moments))}
    first = {f"{names[where]} count": np.array([own.count]) for where, own in moments.items()}
    first |= {f"{names[where]} total": own.count * own.mean for where, own in moments.items()}
    sums = team.sum(first)
    counts = {where: float(sums[f"{name} count"][0]) for where, name in names.items()}
    means = {where: sums[f"{name} total"] / counts[where] for where, name in names.items()}
    scatters = team.sum(
        {names[where]: own.scatter + own.count * (own.mean - means[where]) ** 2 for where, own in moments.items()}
    )
    return {where: Moments(counts[where], means[where], scatters[name]) for where, name in names.items()}


def linear_layers(groups: ChannelGroups) -> tuple[LinearLayer, ...]:
    """Finds the layers that produce or read channels of a group, in the order of the graph."""
    view = groups.analysis.tracer.view
    layers = []
    for node in view.nodes:
        layer = _layer(groups, view, node)
        if layer is not None and (layer.inputs.max(initial=-1) >= 0 or layer.outputs.max(initial=-1) >= 0):
            layers.append(layer)
    return tuple(layers)


def _layer(groups: ChannelGroups, view: GraphView, node: NodeView) -> LinearLayer | None:
    if node.op not in ("Conv", "ConvTranspose", "Gemm", "MatMul") or node.domain:
        return None
    position, _ = _weight_of(view, node)
    data, weight = node.inputs[1 - position], node.inputs[position]
    shapes = [view.shape(name) for name in (data, node.outputs[0])]
    if not view.is_derived(weight) or None in shapes:
        return None
    rank = len(shapes[0] or ())
    axis = 1 if node.op != "MatMul" else rank - 1 if position == 1 else rank - 2
    units = [
        _units(groups, name, axis, (shape or ())[axis])
        for name, shape in zip((data, node.outputs[0]), shapes, strict=True)
    ]
    return LinearLayer(node, data, axis, int(node.attributes.get("group", 1)), units[0], units[1], view)


def _weight_of(view: GraphView, node: NodeView) -> tuple[int, bool]:
    """Returns which input is the weight, and whether it is a matrix of (inputs, outputs)."""
    if node.op == "MatMul":
        right = view.is_derived(node.inputs[1]) and len(view.shape(node.inputs[1]) or ()) == 2
        return (1, True) if right else (0, False)
    return 1, node.op == "Gemm" and not node.attributes.get("transB", 0)


def _units(groups: ChannelGroups, tensor: str, axis: int, size: int) -> NDArray[np.int64]:
    """Returns the units along one axis of a feature map."""
    analysis = groups.analysis
    for labels in analysis.tracer.fields(tensor):
        if labels.axes == (axis,):
            atoms = labels.atoms.ravel()
            units = analysis.unit_of[atoms]
            parts = [analysis.first_parts.get(int(atom), -1) for atom in atoms] if analysis.composites else units
            return np.where(units < 0, parts, units)
    return np.full(size, -1, dtype=np.int64)


def _value(view: GraphView, name: str) -> NDArray[np.float32]:
    """Returns a constant, or what the graph computes from constants alone (a transposed or reshaped weight)."""
    value = view.constant(name)
    if value is not None:
        return value
    from onnx.reference import ReferenceEvaluator

    node = view.producer[view.root(name)]
    feeds = {each: _value(view, each) for each in node.inputs if each}
    made = ReferenceEvaluator(node.proto, opsets={"": view.opset}).run([view.root(name)], feeds)
    return np.asarray(next(iter(made)), dtype=np.float32)
