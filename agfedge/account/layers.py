"""Which nodes of a graph a profiler's layer is: backends fuse nodes, and name what they fused in their own ways.

* ONNX Runtime names a node as it is in the graph, ``fused NODE`` where an activation went into it, and, where it laid
  the channels out anew, by the output: ``TENSOR_nchwc``; ``_token_7`` behind a name makes it unique.
* TensorRT joins the names of what it fused by `` + ``, writes elementwise nodes as ``PWN(NODE, NODE)``, and a region
  that it compiled as a whole as ``{ForeignNode[NODE...NODE]}``, from the first to the last.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from agfedge.allocate.kernels import Launch, channels_of, kernel_of, launches
from agfedge_export.graph.view import view_of
from agfedge_runtime.bundle.manifest import FULL_PRECISION

if TYPE_CHECKING:
    import onnx

    from agfedge_export.graph.view import GraphView
    from agfedge_profiles import Kernel
    from agfedge_runtime import Bundle
    from agfedge_runtime.profile.samples import Layer, Samples

# Of what a profiler told of a layer, the share that is surely the layer's.
_LEAST = 0.1
_HALVINGS = 50
_TOKEN = re.compile(r"_token_\d+$")
_SUFFIX = re.compile(r"(?:_kernel_time|_nchwc)$")
_REGION = re.compile(r"\{ForeignNode\[(.+?)\.\.\.(.+?)\]\}")
_SPLIT = re.compile(r" \+ |, |\|\|")
_WRAPPER = re.compile(r"^(?:PWN|fused|\[[^\]]*\])\s*\(?|\)+$")


class LayeredGraph:
    """A graph, ready to look layers up in.

    Args:
        model: the graph.

    Attributes:
        view: of it.
        launches: its kernels, each a node with the elementwise ones behind it.

    Raises:
        ModelError: shapes cannot be inferred.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self.view: GraphView = view_of(model)
        self.launches: list[Launch] = launches(self.view)
        self._by_name = {node.name: node.index for node in self.view.nodes}
        self._by_output = {name: node.index for node in self.view.nodes for name in node.outputs if name}
        self._launch_of = {index: number for number, launch in enumerate(self.launches) for index in launch.nodes}

    @cached_property
    def kernels(self) -> list[Kernel]:
        """What each launch computes and moves."""
        return [kernel_of(self.view, launch) for launch in self.launches]

    def channels(self, number: int) -> tuple[int, int] | None:
        """Returns the channels (in, out) of a launch; None for what has none."""
        return channels_of(self.view, self.launches[number])

    def op(self, number: int) -> str:
        """Returns the operator that makes a launch a kernel of its own."""
        return self.view.nodes[self.launches[number].nodes[0]].op

    def head(self, number: int) -> str:
        """Returns the name of the node that makes a launch a kernel of its own, or of what an unnamed one makes."""
        node = self.view.nodes[self.launches[number].nodes[0]]
        return node.proto.name or node.outputs[0]

    def launches_of(self, layer: str) -> tuple[int, ...]:
        """Returns the launches that a layer holds nodes of, by position in `launches`; none where it is no node's."""
        numbers: set[int] = set()
        for first, last in _REGION.findall(layer):
            ends = [self._node(first), self._node(last)]
            if None not in ends:
                low, high = sorted(end for end in ends if end is not None)
                numbers.update(number for index, number in self._launch_of.items() if low <= index <= high)
        for part in _SPLIT.split(_REGION.sub("", layer)):
            index = self._node(part)
            if index is not None and index in self._launch_of:
                numbers.add(self._launch_of[index])
        return tuple(sorted(numbers))

    def _node(self, name: str) -> int | None:
        for candidate in _candidates(name.strip()):
            if candidate in self._by_name:
                return self._by_name[candidate]
            if candidate in self._by_output:
                return self._by_output[candidate]
        return None


def _candidates(name: str) -> Iterable[str]:
    """Returns what a name may be of, the name itself first."""
    yield name
    for _ in range(3):
        name = _WRAPPER.sub("", name).strip()
        name = _SUFFIX.sub("", _TOKEN.sub("", name))
        yield name


def own_times(
    layers: Mapping[str, Sequence[Layer]], run_us: Mapping[str, float]
) -> tuple[dict[str, tuple[Layer, ...]], dict[str, float]]:
    """Takes the profiler's own time off the layers.

    A run with a profiler takes longer than one without. Where the layers took longer together than a run without it,
    so much is taken off each of them alike that they take as long as that, but a tenth of what was told stays of each:
    that the profiler costs every layer the same is assumed.

    Args:
        layers: as the profiler tells them, by stage.
        run_us: what a run of each stage takes without a profiler.

    Returns:
        The layers without it, and what was taken off each, by stage.
    """
    own, off = {}, {}
    for stage, timed in layers.items():
        off[stage] = _beyond([layer.us for layer in timed], run_us.get(stage, math.inf))
        own[stage] = tuple(replace(layer, us=max(layer.us - off[stage], _LEAST * layer.us)) for layer in timed)
    return own, off


def _beyond(times: Sequence[float], run_us: float) -> float:
    """Returns what to take off each time, so that they add up to a run."""
    low, high = 0.0, max(times, default=0.0)
    if sum(times) <= run_us:
        return 0.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if sum(max(us - middle, _LEAST * us) for us in times) > run_us:
            low = middle
        else:
            high = middle
    return high


@dataclass(frozen=True)
class Part:
    """Layers of one expert that belong together.

    Attributes:
        us: that they take.
        launches: positions in the graph's launches.
    """

    us: float
    launches: tuple[int, ...]


@dataclass(frozen=True)
class Matched:
    """What two experts' profiles say of the same nodes.

    Attributes:
        parts: one for each graph, in the order given.
    """

    parts: tuple[Part, ...]


def match_layers(
    graphs: Sequence[LayeredGraph], layers: Sequence[Sequence[Layer]]
) -> tuple[list[Matched], list[float]]:
    """Brings together the layers of several graphs that hold the same nodes, by name.

    A surgery keeps the names of nodes: launches are the same where the nodes that make them are called the same. Those
    that one layer holds together stay together in all graphs.

    Args:
        graphs: that were profiled.
        layers: of each.

    Returns:
        What belongs together, in the first graph's order; and for each graph the microseconds of layers that are no
        node's.
    """
    sets = _Sets()
    held = [[graph.launches_of(layer.name) for layer in of] for graph, of in zip(graphs, layers, strict=True)]
    for graph, launches_of in zip(graphs, held, strict=True):
        for together in launches_of:
            sets.join([graph.head(number) for number in together])
    by_root: dict[str, list[Part]] = {}
    for position, graph in enumerate(graphs):
        for number in range(len(graph.launches)):
            parts = by_root.setdefault(sets.root(graph.head(number)), [Part(0.0, ()) for _ in graphs])
            parts[position] = Part(0.0, (*parts[position].launches, number))
    lost = [0.0] * len(graphs)
    for position, graph in enumerate(graphs):
        for layer, together in zip(layers[position], held[position], strict=True):
            if not together:
                lost[position] += layer.us
                continue
            parts = by_root[sets.root(graph.head(together[0]))]
            parts[position] = Part(parts[position].us + layer.us, parts[position].launches)
    return [Matched(tuple(parts)) for parts in by_root.values()], lost


class _Sets:
    """Disjoint sets of names."""

    def __init__(self) -> None:
        self._above: dict[str, str] = {}

    def root(self, name: str) -> str:
        while self._above.get(name, name) != name:
            name = self._above[name]
        return name

    def join(self, names: Sequence[str]) -> None:
        for name in names[1:]:
            self._above[self.root(name)] = self.root(names[0])


def macs_of(graph: LayeredGraph, part: Part) -> int:
    """Returns the multiply-accumulates of a part."""
    return int(sum(graph.kernels[number].macs for number in part.launches))


def precision_of(samples: Samples) -> str:
    """Returns what the graphs of a run computed in."""
    return str(samples.environment.get("precision", FULL_PRECISION))


def bundle_that_ran(samples: Samples, bundle: Bundle) -> Bundle:
    """Returns the bundle with the graphs and thresholds of the precision that ran, where it has them."""
    manifest, precision = bundle.manifest, precision_of(samples)
    if precision not in manifest.precisions:  # samples of another bundle, which the findings tell
        return bundle
    ran = replace(manifest, precisions={FULL_PRECISION: manifest.precisions[precision]})
    return replace(bundle, manifest=ran)


def stage_graphs(bundle: Bundle) -> dict[str, LayeredGraph]:
    """Reads the graphs by stage: "trunk" where there is one, "light", "heavy".

    Raises:
        ModelError: the shapes of one cannot be inferred.
        BundleError: one is missing.
    """
    import onnx

    experts = bundle.manifest.experts
    parts = {"trunk": experts.trunk, "light": experts.light, "heavy": experts.heavy}
    return {
        stage: LayeredGraph(onnx.load(str(bundle.file(part.file)))) for stage, part in parts.items() if part is not None
    }
