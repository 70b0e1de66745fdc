"""Real architectures for each family that surgery must handle, and the share of MACs that may be left of each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import pytest

from architectures import Architecture, Kind
from models import DEFAULT_CACHE, build, model_path
from pairwise import all_pairs

_CACHE = Path(__file__).resolve().parents[2] / DEFAULT_CACHE
# Half of a layer's inputs times half of its outputs is a quarter. A transformer's stream passes norms across channels.
BOUNDS: dict[Kind, float] = {"batch-norm CNN": 0.30, "CNN": 0.30, "transformer": 0.62}
# Why more may be left than that.
ACROSS = "LayerNorm normalises across the stream's channels"
LOCAL = "LRN normalises across channels"
THREE = "three groups of positions that three does not divide: few choices leave all alike behind the shuffle"


@dataclass(frozen=True)
class Family:
    """An architecture that stands for a family.

    Attributes:
        net: how its graph is made.
        bound: greatest share of the MACs that may be left at keep 0.5.
        why: the reason where that is more than `BOUNDS` says.
        converted: opset that the graph is converted to, for those that no exporter of torch writes.
    """

    net: Architecture
    bound: float
    why: str = ""
    converted: int | None = None

    @property
    def opset(self) -> int:
        return self.converted or self.net.written_opset

    def __str__(self) -> str:
        return f"{self.net.family}: {self.net.name}"

    def graph(self) -> onnx.ModelProto:
        """Makes the network with random weights and exports it, once for all runs while its source stays."""
        # A graph that onnx ships is large, and soon made.
        model = build(self.net) if self.net.exporter == "onnx" else onnx.load(model_path(self.net, _CACHE))
        return model if self.converted is None else onnx.version_converter.convert_version(model, self.converted)


def _net(
    family: str,
    source: str,
    way: str,
    opset: int,
    *shapes: tuple[int, ...],
    kind: Kind = "batch-norm CNN",
    bound: float | None = None,
    why: str = "",
    converted: int | None = None,
    **options: object,
) -> Family:
    """`way`: Dynamo or Torchscript, Fixed or Symbolic batch, batch norm Merged into convolutions or Unmerged."""
    exporter = "dynamo" if way[0] == "D" else "torchscript"
    batch = "fixed" if way[1] == "F" else "symbolic"
    folded = way[2] == "M"
    given = shapes or ((3, 64, 64),)
    words = (source.split("/")[1].split(".")[-1], *(str(each) for each in options.values() if isinstance(each, str)))
    name = f"{' '.join(words)}, {exporter} {converted or opset}, {batch}, {'folded' if folded else 'unfolded'}"
    if source.startswith("pytorchcv/"):
        options = {"in_size": given[0][1:], "num_classes": 10, **options}
    chosen = tuple(sorted((key, value) for key, value in options.items() if value is not None))
    net = Architecture(name, family, source, exporter, batch, folded, given, kind, chosen, opset)
    return Family(net, bound or BOUNDS[kind], why, converted)


def _cv(family: str, name: str, way: str, opset: int, pixels: int = 64, **rest: Any) -> Family:
    return _net(family, f"pytorchcv/{name}", way, opset, (3, pixels, pixels), **rest)


def _transformer(family: str, name: str, way: str, opset: int, **rest: Any) -> Family:
    return _net(family, f"own/{name}", way, opset, kind="transformer", **rest)


def _light(name: str, bound: float = 0.30, why: str = "") -> Family:
    """A graph that the onnx package ships: batch of one, 224 pixels."""
    source = f"onnx/light_{name}"
    net = Architecture(f"{name}, onnx 13, fixed", "light", source, "onnx", "fixed", shapes=((3, 224, 224),))
    return Family(net, bound, why)


_CHAINS = (
    _net("chain", "own/convolutional.vgg", "DSM", 22),
    _net("chain", "own/convolutional.vgg", "TSU", 11, kind="CNN", batch_norm=False),
    _cv("chain", "darknet_tiny", "DFU", 18),
)

_RESIDUAL = (
    _cv("residual, identity and projection", "resnet10", "DSM", 20),
    _cv("residual, identity and projection", "resnet10", "DSU", 23, converted=26),
    _cv("residual, identity and projection", "resnet20_cifar10", "TFU", 16, 32),
    _cv("residual, identity and projection", "resnet20_cifar10", "TSM", 20, 32, converted=24),
    _net("residual, option A", "own/cifar.resnet20", "TFU", 17, (3, 32, 32)),
    _net("residual, option A", "own/cifar.resnet20", "TSM", 12, (3, 32, 32)),
    _net("residual, option A", "own/cifar.resnet20", "DSU", 21, (3, 32, 32)),
    _cv("pre-activation", "preresnet10", "DSU", 20),
    _cv("pre-activation", "preresnet20_cifar10", "TFM", 13, 32),
    _cv("bottleneck", "resnetbc14b", "TSU", 11),
    _cv("bottleneck", "resnetbc14b", "DFM", 18),
)

_GROUPED = (
    _cv("grouped", "resnext14_16x4d", "TSM", 14),
    _cv("grouped", "resnext14_16x4d", "DFU", 20),
    _cv("grouped", "regnetx002", "TFU", 13),
    _cv("grouped, squeeze-and-excite", "regnety002", "TSM", 18),
)

_DEPTHWISE = (
    _cv("depthwise", "mobilenet_wd4", "DSU", 19),
    _cv("depthwise", "mobilenet_wd4", "TFM", 11),
    _cv("depthwise", "mobilenetv2_wd2", "TSU", 15),
    _cv("depthwise", "mobilenetv2_wd2", "TFM", 20),
    _cv("depthwise, squeeze-and-excite", "mobilenetv3_small_w1", "TFU", 14),
    _cv("depthwise, squeeze-and-excite", "efficientnet_b0", "TSU", 17, in_size=None),
    _cv("depthwise", "mnasnet_b1", "TFM", 12),
    _cv("depthwise, concatenation", "ghostnet", "TSU", 18),
)

_GATES = (
    _cv("squeeze-and-excite", "seresnet10", "TSU", 16),
    _cv("squeeze-and-excite", "seresnet10", "DFM", 20),
    _cv("gates", "bam_resnet18", "TSM", 17),
    _cv("gates", "cbam_resnet18", "DFU", 20, bound=0.55, why="the spatial gate takes the maximum across the channels"),
    _cv("gates, split attention", "resnestabc14", "TFU", 17),
    _cv("gates between branches", "sknet50", "TSM", 17),
    _net("gates, split", "own/convolutional.gated", "DSU", 20),
)

_DENSE = (
    _cv("dense", "densenet40_k12_bc_cifar10", "DSU", 20, 32),
    _cv("dense", "densenet40_k12_bc_cifar10", "TFM", 13, 32),
    _cv("dense", "inceptionv3", "TFM", 17, 96),
    _cv("dense", "squeezenet_v1_1", "DSU", 18, kind="CNN"),
    _cv("dense", "dla46c", "TSU", 17, bound=0.31, why="narrow layers, and the image has three channels"),
    _cv("dense", "dla34", "DFM", 18),
    _cv("dense", "vovnet27s", "DSM", 20),
    _cv("dense", "vovnet27s", "TFU", 11),
    _cv("dense", "hardnet39ds", "TSU", 17),
)

_SHUFFLES = (
    _cv("channel shuffle", "shufflenet_g1_wd2", "TSM", 17),
    _cv("channel shuffle", "shufflenet_g3_w1", "TSU", 15, bound=0.65, why=THREE),
    _cv("split and shuffle", "shufflenetv2_w1", "TSU", 17),
    _cv("split and shuffle", "shufflenetv2b_w1", "DFM", 20),
    _net("split, C2f, detection head", "own/yolo.yolo", "TFM", 13),
    _net("split, Res2Net", "own/convolutional.res2net", "DSU", 23, converted=25),
    _net("split, Res2Net", "own/convolutional.res2net", "TFM", 11),
    _net("pixel shuffle", "own/convolutional.espcn", "TSU", 17, (3, 32, 32), kind="CNN"),
)

_RESOLUTIONS = (
    _cv("multi-resolution", "hrnet_w18_small_v1", "TSM", 17),
    _net("pyramid, detection head, shared weights", "own/detectors.retinanet", "DSM", 18),
    _net("pyramid, detection head, shared weights", "own/detectors.retinanet", "TFU", 11),
    _net("transposed convolution", "own/segmentation.unet", "DSM", 20),
    _net("transposed convolution", "own/segmentation.unet", "TFU", 12),
    _cv("transposed convolution", "simplepose_resnet18_coco", "TSU", 17, return_heatmap=True, num_classes=None),
    _net("resize", "own/segmentation.unet", "TSU", 16, transposed=False),
    _net("resize", "own/segmentation.unet", "DFM", 22, transposed=False),
)

_LARGE_KERNELS = (
    _net("ConvNeXt", "own/convolutional.convnext", "DSU", 20, kind="CNN", bound=0.62, why=ACROSS),
    _net("ConvNeXt", "own/convolutional.convnext", "TFU", 13, kind="CNN", bound=0.62, why=ACROSS),
    _net("large kernels", "own/convolutional.replknet", "TSM", 17, bound=0.36, why="a depthwise kernel halves"),
)

_TRANSFORMERS = (
    _transformer("ViT, fused", "vit.vit", "DSU", 20, depth=2),
    _transformer("ViT, fused", "vit.vit", "TFU", 11, depth=2),
    _transformer("ViT, separate", "vit.vit", "TSU", 17, depth=2, attention="separate"),
    _transformer("ViT, separate", "vit.vit", "DFU", 18, depth=2, attention="separate"),
    _transformer("ViT, scaled_dot_product", "vit.vit", "DFM", 21, depth=2, attention="chunked"),
    _transformer("ViT, scaled_dot_product", "vit.vit", "DSM", 23, depth=2, attention="chunked"),
    _transformer("ViT, MultiheadAttention", "vit.vit", "TFU", 14, depth=2, attention="torch"),
    _transformer("ViT, MultiheadAttention", "vit.vit", "DSU", 20, depth=2, attention="torch"),
    _transformer("DeiT", "vit.deit", "TSU", 17, attention="chunked"),
    _transformer("CaiT", "vit.cait", "TSU", 19),
    _transformer("Swin", "swin.swin", "DFM", 20),
    _transformer("Swin", "swin.swin", "TSU", 13),
    _transformer("PVT", "pyramid.pvt", "DSU", 20),
    _transformer("PVT", "pyramid.pvt", "TFU", 13),
    _transformer("MobileViT", "hybrid.mobilevit", "TSM", 17),
    _transformer("MobileViT", "hybrid.mobilevit", "DFU", 20),
    _transformer("LeViT", "hybrid.levit", "TSU", 17),
    _transformer("LeViT", "hybrid.levit", "DFM", 20),
    _transformer("MLP-Mixer", "pyramid.mixer", "TSU", 11),
    _transformer("cross-covariance", "hybrid.crosscovariance", "TSU", 17),
)

_HEADS = (
    _net("segmentation head", "own/segmentation.deeplab", "DSU", 20),
    _transformer("segmentation head, PVT", "pyramid.segformer", "TSU", 17),
    _cv("detection head", "centernet_resnet18_coco", "TFM", 17, num_classes=None),
    _net(
        "detection heads, several outputs",
        "own/detectors.single_shot",
        "TSU",
        17,
        bound=0.42,
        why="a map is normalised across its channels",
    ),
    _transformer("detection head, DETR", "detectors.detr", "TSU", 17),
)

_TOWERS = (
    _net("several inputs and outputs", "own/towers.colour_and_depth", "DSU", 20, (3, 64, 64), (1, 64, 64)),
    _net("several inputs, shared weights", "own/towers.siamese", "TSU", 17, (3, 64, 64), (3, 64, 64)),
    _net("several outputs", "own/towers.deep_supervision", "TFM", 17),
    _net("shared weights", "own/towers.recurrent", "DSU", 20),
    _cv("shared weights", "sharesnet18", "TFU", 17),
)

_LIGHT = (
    _light("squeezenet", 0.33, "the last convolution makes the output's 1000 channels"),
    _light("bvlc_alexnet", 0.66, LOCAL),
    _light("densenet121"),
    _light("inception_v1", 0.38, LOCAL),
    _light("inception_v2"),
    _light("resnet50"),
    _light("shufflenet", 0.50, THREE),
    _light("vgg19"),
    _light("zfnet512", 0.56, LOCAL),
)

FAMILIES: tuple[Family, ...] = (
    *_CHAINS,
    *_RESIDUAL,
    *_GROUPED,
    *_DEPTHWISE,
    *_GATES,
    *_DENSE,
    *_SHUFFLES,
    *_RESOLUTIONS,
    *_LARGE_KERNELS,
    *_TRANSFORMERS,
    *_HEADS,
    *_TOWERS,
    *_LIGHT,
)

# Each kind of network, each way of exporting, and each pair of a way's parts and the opset.
CHOSEN: tuple[Family, ...] = all_pairs(
    FAMILIES,
    lambda each: {
        "exporter": each.net.exporter,
        "batch": each.net.batch,
        "folded": each.net.folded,
        "opset": each.opset,
    },
    lambda each: (each.net.family, (each.net.exporter, each.net.batch, each.net.folded)),
)
# All of them, as parameters of a test; those that are not chosen wait for `make full`.
PARAMETERS = tuple(
    pytest.param(each, marks=() if each in CHOSEN else pytest.mark.full, id=str(each)) for each in FAMILIES
)
