"""The pruning truth test: MACs saved against microseconds saved, of the experts and of single layers.

A layer counts as faster where it saves at least half the share of its time that it saves of its MACs. Of one that does
not, the likely reason is the first that holds of:

1. launch-bound: it takes at most twice what a kernel costs before it computes anything;
2. misaligned: pruning left a number of channels that is no multiple of 8 (int8: 16), where the heavy expert's is; GPUs
   pad to such blocks, and so does ONNX Runtime where it lays the channels out anew. NVIDIA's Deep Learning Performance
   guide, "Tensor Core requirements";
3. memory-bound: reading and writing takes longer than computing;
4. less parallel: nothing of that, so the smaller shape reaches a smaller share of the peak.

The roofline that 1 and 3 go by is that of the device's profile where one is named. Else it is read off this very run:
the quickest layer for the launch, the most MACs and the most elements in a microsecond that any layer reached.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agfedge.account.layers import LayeredGraph, Matched, macs_of, match_layers, own_times, precision_of
from agfedge.account.prediction import measured_us
from agfedge_profiles import Roofline, load_cost_model, model_precision, roofline_of

if TYPE_CHECKING:
    from agfedge_profiles import Kernel
    from agfedge_runtime.bundle.manifest import Manifest
    from agfedge_runtime.profile.samples import Layer, Samples

# What a light expert that was pruned from the heavy one has in its bundle.
PLAN = "plan.json"
_HALF = 0.5
# Below it a layer was not pruned, as far as its time can tell.
_LEAST_SAVED = 0.05
_LAUNCHES = 2.0
_BLOCKS = {"int8": 16}
_BLOCK = 8

LAUNCH, ALIGNMENT, MEMORY, PARALLEL = "launch-bound", "misaligned", "memory-bound", "less parallel"
_ADVICE = {
    LAUNCH: "thinner cannot make it quicker, fewer layers can: let whole residual branches go (--drop-branches, or "
    "search --depth)",
    ALIGNMENT: "export again with --align {block}",
    MEMORY: "what it reads and writes bounds it: prune what comes before and after it too, or take a lower precision",
    PARALLEL: "small shapes use this machine badly: let whole branches go, or give export a budget with --target and "
    "a table of this device (profile --save-table)",
}


@dataclass(frozen=True)
class StageTruth:
    """The light expert beside the heavy one, both alone and without a trunk that they share.

    Attributes:
        heavy_macs: multiply-accumulates of an input.
        light_macs: likewise.
        heavy_us: mean latency.
        light_us: likewise.
        macs_saved: share of the multiply-accumulates that the light expert does without.
        time_saved: share of the time.
    """

    heavy_macs: int
    light_macs: int
    heavy_us: float
    light_us: float
    macs_saved: float
    time_saved: float


@dataclass(frozen=True)
class LayerTruth:
    """One layer in both experts; where a backend fused several, what they share.

    Attributes:
        name: of the node with most multiply-accumulates.
        op: of that node.
        heavy_us: what the profiler says of it in the heavy expert.
        light_us: in the light expert; 0 where its branch went whole.
        heavy_macs: multiply-accumulates.
        light_macs: likewise.
        heavy_channels: (in, out) of that node in the heavy expert; None for what has no channels.
        channels: likewise in the light expert; None where it is gone.
        is_faster: whether it saves at least half the share of time that it saves of the MACs.
        reason: why not, most likely; empty where it is faster or nothing was pruned from it.
        advice: what to do.
    """

    name: str
    op: str
    heavy_us: float
    light_us: float
    heavy_macs: int
    light_macs: int
    heavy_channels: tuple[int, int] | None
    channels: tuple[int, int] | None
    is_faster: bool
    reason: str
    advice: str


@dataclass(frozen=True)
class Truth:
    """What pruning saved.

    Attributes:
        stage: the whole light expert beside the whole heavy one.
        layers: those with multiply-accumulates that the profiles tell, in the graph's order.
        rest_us: microseconds of all other layers, by expert: of nodes without multiply-accumulates, and of what a
            backend put in between.
        profiler_us: what was taken off each layer for the profiler's own time, by expert; see `own_times`.
        note: why there are no layers; empty where there are.
    """

    stage: StageTruth
    layers: tuple[LayerTruth, ...]
    rest_us: Mapping[str, float]
    profiler_us: Mapping[str, float]
    note: str

    @property
    def slow(self) -> tuple[LayerTruth, ...]:
        """The layers that did not get faster, those that take longest first."""
        return tuple(sorted((layer for layer in self.layers if layer.reason), key=lambda layer: -layer.light_us))


def stage_truth(heavy_macs: int, light_macs: int, heavy_us: float, light_us: float) -> StageTruth:
    """Compares two experts, from their MACs and mean microseconds."""
    return StageTruth(
        heavy_macs, light_macs, heavy_us, light_us, _saved(heavy_macs, light_macs), _saved(heavy_us, light_us)
    )


def layer_truths(
    heavy: LayeredGraph,
    light: LayeredGraph,
    layers: Mapping[str, Sequence[Layer]],
    precision: str = "fp32",
    roofline: Roofline | None = None,
) -> tuple[tuple[LayerTruth, ...], dict[str, float]]:
    """Compares the layers of two experts.

    Args:
        heavy: its graph.
        light: its graph.
        layers: what the profiler said, by "heavy" and "light".
        precision: that they ran in.
        roofline: of the device; None reads one off these layers.

    Returns:
        The layers with multiply-accumulates, and what all others take, by expert.
    """
    graphs = (heavy, light)
    matched, lost = match_layers(graphs, (layers["heavy"], layers["light"]))
    bounds = roofline or seen_roofline(graphs, matched)
    truths = []
    rest = dict(zip(("heavy", "light"), lost, strict=True))
    for match in matched:
        if bounds is not None and macs_of(heavy, match.parts[0]) and match.parts[0].us:
            truths.append(_layer(heavy, light, match, bounds, precision))
        else:
            rest["heavy"] += match.parts[0].us
            rest["light"] += match.parts[1].us
    return tuple(truths), rest


def seen_roofline(graphs: Sequence[LayeredGraph], matched: Iterable[Matched]) -> Roofline | None:
    """Reads a roofline off the layers themselves: no layer is quicker than it says; None where nothing computes."""
    seen: list[tuple[float, Kernel]] = []
    for match in matched:
        for graph, part in zip(graphs, match.parts, strict=True):
            if len(part.launches) == 1 and part.us:
                seen.append((part.us, graph.kernels[part.launches[0]]))
    if not any(kernel.macs for _, kernel in seen):
        return None
    launch = min(us for us, kernel in seen if kernel.macs)
    return Roofline(
        launch,
        max(kernel.macs / us for us, kernel in seen),
        max(kernel.elements / us for us, kernel in seen),
    )


def truth_of(
    samples: Samples,
    manifest: Manifest,
    graphs: Mapping[str, LayeredGraph],
    device: str | None = None,
    problem: str = "",
) -> Truth:
    """Compares what pruning saved of the MACs and of the time.

    Args:
        samples: of one run.
        manifest: of the bundle in the precision that ran.
        graphs: by stage.
        device: the device profile whose roofline tells what bounds a layer; None, a table, or one without a peak for
            the precision that ran reads it off this run.
        problem: why there are no graphs.

    Raises:
        InputError: there is no such profile.
    """
    experts, took = manifest.experts, measured_us(samples)
    stage = stage_truth(experts.heavy.macs, experts.light.macs, took["heavy"], took["light"])
    if PLAN not in manifest.files:
        return Truth(stage, (), {}, {}, "the light expert is a model of its own: its layers are not the heavy expert's")
    if not (samples.layers.get("heavy") and samples.layers.get("light")):
        return Truth(stage, (), {}, {}, "layers were not timed: --layers asks the backend's profiler, where it has one")
    if problem:
        return Truth(stage, (), {}, {}, problem)
    precision = precision_of(samples)
    model = None if device is None else load_cost_model(device)
    known = model is not None and model.table is None and model_precision(precision) == precision
    roofline = roofline_of(model.device, precision) if model is not None and known else None
    times, off = own_times(samples.layers, took)
    layers, rest = layer_truths(graphs["heavy"], graphs["light"], times, precision, roofline)
    return Truth(stage, layers, rest, off, "" if layers else "no layer of the profile is a node of both graphs")


def _layer(heavy: LayeredGraph, light: LayeredGraph, matched: Matched, bounds: Roofline, precision: str) -> LayerTruth:
    before, after = matched.parts
    main = max(before.launches, key=lambda number: heavy.kernels[number].macs)
    name = heavy.head(main)
    same = next((number for number in after.launches if light.head(number) == name), None)
    macs, left = macs_of(heavy, before), macs_of(light, after)
    channels = None if same is None else light.channels(same)
    saved, quicker = _saved(macs, left), _saved(before.us, after.us)
    is_faster = quicker >= _HALF * saved
    reason = advice = ""
    if saved >= _LEAST_SAVED and not is_faster and same is not None:
        block = _BLOCKS.get(precision, _BLOCK)
        kind = _reason(after.us, light.kernels[same], bounds, _misaligned(heavy.channels(main), channels, block))
        reason, advice = _words(kind, channels, block, bounds, light.kernels[same]), _ADVICE[kind].format(block=block)
    return LayerTruth(
        name, heavy.op(main), before.us, after.us, macs, left, heavy.channels(main), channels, is_faster, reason, advice
    )


def _reason(us: float, kernel: Kernel, bounds: Roofline, misaligned: bool) -> str:
    if us <= _LAUNCHES * bounds.launch_us:
        return LAUNCH
    if misaligned:
        return ALIGNMENT
    return MEMORY if kernel.elements / bounds.elements_per_us > kernel.macs / bounds.macs_per_us else PARALLEL


def _words(kind: str, channels: tuple[int, int] | None, block: int, bounds: Roofline, kernel: Kernel) -> str:
    if kind == LAUNCH:
        return f"{kind}: a kernel takes {bounds.launch_us:,.1f} us here before it computes"
    if kind == ALIGNMENT and channels is not None:
        return f"{kind}: {channels[0]} channels in and {channels[1]} out, not both multiples of {block}"
    if kind == MEMORY:
        return f"{kind}: {kernel.macs / kernel.elements:,.1f} MACs for each number that it reads or writes"
    return f"{kind}: its smaller shape reaches a smaller share of the peak"


def _misaligned(before: tuple[int, int] | None, after: tuple[int, int] | None, block: int) -> bool:
    """Whether a side is off the block that was on it before: an image's three channels are nobody's fault."""
    if before is None or after is None:
        return False
    return any(was % block == 0 and now % block for was, now in zip(before, after, strict=True))


def _saved(before: float, after: float) -> float:
    return 1 - after / before if before else 0.0
