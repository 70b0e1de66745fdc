"""The architectures that the coverage benchmark prunes: every family of vision networks, both exporters, many opsets.

Names only: nothing is imported here, so that a cached graph is read without torch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Exporter = Literal["dynamo", "torchscript", "onnx"]
Kind = Literal["batch-norm CNN", "CNN", "transformer"]

# Opsets that the exporters write by default.
OPSETS = {"dynamo": 20, "torchscript": 17, "onnx": 13}


@dataclass(frozen=True)
class Architecture:
    """One network and the way it becomes an ONNX graph.

    Attributes:
        name: its row in the table.
        family: the pattern that it stands for.
        source: `pytorchcv/NAME`, `onnx/NAME` (a light graph of the onnx package) or `own/MODULE.FUNCTION`.
        exporter: which of torch's exporters writes it; "onnx" where it is a graph already.
        batch: whether the batch size is a number (1) or a symbol.
        folded: whether batch normalisation is folded into the convolutions.
        shapes: of the inputs, without the batch.
        kind: the class of networks whose median it counts for.
        options: keyword arguments of the factory.
        opset: of the graph.
    """

    name: str
    family: str
    source: str
    exporter: Exporter = "dynamo"
    batch: Literal["fixed", "symbolic"] = "symbolic"
    folded: bool = False
    shapes: tuple[tuple[int, ...], ...] = ((3, 64, 64),)
    kind: Kind = "batch-norm CNN"
    options: tuple[tuple[str, object], ...] = field(default=())
    opset: int | None = None

    @property
    def written_opset(self) -> int:
        """The opset of the graph."""
        return self.opset or OPSETS[self.exporter]


def _cv(
    name: str,
    family: str,
    way: str,
    size: int = 64,
    kind: Kind = "batch-norm CNN",
    opset: int | None = None,
    label: str = "",
    **options: object,
) -> Architecture:
    """A network of pytorchcv. `way` is three letters: Dynamo or Torchscript, Fixed or Symbolic, Merged or Unmerged."""
    exporter, batch, folded = _way(way)
    given = {"in_size": (size, size), **options}
    chosen = tuple(sorted((key, value) for key, value in given.items() if value is not None))
    shapes = ((3, size, size),)
    source = f"pytorchcv/{name}"
    return Architecture(label or name, family, source, exporter, batch, folded, shapes, kind, chosen, opset)


def _own(
    source: str,
    family: str,
    way: str,
    *shapes: tuple[int, ...],
    kind: Kind = "batch-norm CNN",
    opset: int | None = None,
    label: str = "",
    **options: object,
) -> Architecture:
    """A network of the folder own_architectures; see `_cv` for `way`."""
    exporter, batch, folded = _way(way)
    chosen = tuple(sorted(options.items()))
    given = shapes or ((3, 64, 64),)
    name = label or source.split(".")[1]
    return Architecture(name, family, f"own/{source}", exporter, batch, folded, given, kind, chosen, opset)


def _light(name: str, family: str, kind: Kind) -> Architecture:
    """A graph that the onnx package ships: batch of one, 224 pixels."""
    shapes = ((3, 224, 224),)
    return Architecture(name, family, f"onnx/{name}", "onnx", "fixed", False, shapes, kind)


def _way(way: str) -> tuple[Exporter, Literal["fixed", "symbolic"], bool]:
    exporter: Exporter = "dynamo" if way[0] == "D" else "torchscript"
    batch: Literal["fixed", "symbolic"] = "fixed" if way[1] == "F" else "symbolic"
    return exporter, batch, way[2] == "M"


_CHAINS = (
    _own("convolutional.vgg", "chain", "DSM", label="vgg11_bn"),
    _own("convolutional.vgg", "chain", "TSU", kind="CNN", opset=11, label="vgg11", batch_norm=False),
    _cv("nin_cifar10", "chain", "TFU", 32, kind="CNN"),
    _cv("darknet_tiny", "chain", "DFU", 96),
    _light("light_bvlc_alexnet", "chain", "CNN"),
    _light("light_vgg19", "chain", "CNN"),
    _light("light_zfnet512", "chain", "CNN"),
)

_RESIDUAL = (
    _own("cifar.resnet56", "residual, option A", "DSU", (3, 32, 32)),
    _own("cifar.resnet20", "residual, option A", "TFU", (3, 32, 32)),
    _cv("resnet18", "residual", "DSM"),
    _cv("resnet50", "residual, bottleneck", "TSU", opset=11),
    _cv("resnetd50b", "residual, bottleneck", "DFU", in_size=None),
    _cv("wrn16_10_cifar10", "residual", "TFM", 32),
    _cv("rir_cifar10", "residual", "DSU", 32),
    _cv("darknet53", "residual", "TFU"),
    _light("light_resnet50", "residual, bottleneck", "batch-norm CNN"),
    _cv("preresnet18", "pre-activation", "DSU"),
    _cv("preresnet20_cifar10", "pre-activation", "TSM", 32),
    _cv("preresnetbc14b", "pre-activation", "DFM"),
    _cv("pyramidnet110_a48_cifar10", "pre-activation", "TFU", 32),
)

_GROUPED = (
    _cv("resnext14_16x4d", "grouped", "DSU"),
    _cv("resnext26_32x4d", "grouped", "TSM"),
    _cv("regnetx002", "grouped", "TFU", opset=13),
    _cv("regnety002", "grouped, squeeze-and-excite", "DSM"),
    _cv("sqnxt23_w1", "residual", "DFU"),
)

_DEPTHWISE = (
    _cv("mobilenet_wd2", "depthwise", "TSM", opset=11),
    _cv("mobilenetv2b_w1", "depthwise", "DSU"),
    _cv("mobilenetv3_large_w1", "depthwise, squeeze-and-excite", "DSM"),
    _cv("mobilenetv3_small_w1", "depthwise, squeeze-and-excite", "TFU", opset=14),
    _cv("efficientnet_b0", "depthwise, squeeze-and-excite", "TSU", in_size=None),
    _cv("mnasnet_b1", "depthwise", "DFM"),
    _cv("proxylessnas_mobile", "depthwise", "TFM"),
    _cv("ghostnet", "depthwise, concatenation", "DSU"),
    _cv("mixnet_s", "depthwise, split", "TSU"),
    _cv("xception", "depthwise", "DFU", 160),
)

_GATES = (
    _cv("seresnet18", "squeeze-and-excite", "TSU"),
    _cv("senet16", "squeeze-and-excite, grouped", "DSM"),
    _cv("cbam_resnet18", "gates", "DFU"),
    _cv("bam_resnet18", "gates", "TSM"),
    _cv("sknet50", "gates", "DSU"),
    _cv("resnesta18", "gates, split attention", "TFU"),
)

_DENSE = (
    _cv("densenet40_k12_bc_cifar10", "dense concatenation", "DSU", 32),
    _cv("densenet121", "dense concatenation", "TSM"),
    _cv("inceptionv3", "dense concatenation", "TFM", 128),
    _cv("bninception", "dense concatenation", "DFU"),
    _cv("squeezenet_v1_1", "dense concatenation", "DSU", kind="CNN"),
    _cv("dla34", "dense concatenation", "TSU"),
    _cv("vovnet27s", "dense concatenation", "DSM"),
    _cv("peleenet", "dense concatenation", "TFU"),
    _cv("hardnet39ds", "dense concatenation", "DSU"),
    _cv("dpn68", "dense concatenation, grouped", "DFM"),
    _cv("inceptionresnetv1", "dense concatenation, residual", "DSU", 128),
    _light("light_densenet121", "dense concatenation", "batch-norm CNN"),
    _light("light_inception_v1", "dense concatenation", "CNN"),
    _light("light_inception_v2", "dense concatenation", "batch-norm CNN"),
    _light("light_squeezenet", "dense concatenation", "CNN"),
)

_SHUFFLE = (
    _cv("shufflenet_g3_w1", "channel shuffle", "DSU"),
    _cv("shufflenet_g1_w1", "channel shuffle", "TSM"),
    _cv("shufflenetv2_w1", "split and shuffle", "TSU"),
    _cv("shufflenetv2b_w1", "split and shuffle", "DFM"),
    _cv("menet108_8x1_g3", "channel shuffle", "TFU"),
    _own("convolutional.res2net", "split, concatenation", "DSU"),
    _own("convolutional.res2net", "split, concatenation", "TFM", label="res2net_torchscript"),
    _own("convolutional.gated", "split, gates", "TFU"),
    _own("convolutional.espcn", "pixel shuffle", "TSU", (3, 32, 32), kind="CNN"),
    _light("light_shufflenet", "channel shuffle", "batch-norm CNN"),
)

_RESOLUTIONS = (
    _cv("hrnet_w18_small_v1", "multi-resolution", "DSU", opset=18),
    _cv("hrnet_w18_small_v2", "multi-resolution", "TSM"),
    _cv("unet_cityscapes", "segmentation, resize", "TFU"),
    _cv("simplepose_resnet18_coco", "transposed convolution", "DSU", return_heatmap=True),
    _own("segmentation.unet", "segmentation, transposed convolution", "DSM", label="unet_transposed"),
    _own("segmentation.unet", "segmentation, resize", "TSU", label="unet_resize", transposed=False),
    _own("segmentation.deeplab", "segmentation head, resize", "DSU"),
    _cv("fcn8sd_resnetd50b_voc", "segmentation head", "TSU"),
    _cv("centernet_resnet18_coco", "detection head", "TFM"),
    _own("yolo.yolo", "detection head, C2f, neck", "DSU", label="yolo"),
    _own("yolo.yolo", "detection head, C2f, neck", "TFM", label="yolo_raw", raw=True, opset=13),
    _own("detectors.retinanet", "detection head, pyramid, shared weights", "DSM"),
    _own("detectors.single_shot", "detection head, several outputs", "TSU"),
)

_LARGE_KERNELS = (
    _own("convolutional.convnext", "ConvNeXt", "DSU", kind="CNN"),
    _own("convolutional.convnext", "ConvNeXt", "TSU", kind="CNN", label="convnext_torchscript"),
    _own("convolutional.convnext", "ConvNeXt", "TFU", kind="CNN", label="convnext_v2", second=True),
    _own("convolutional.replknet", "large kernels", "TSM"),
)

_TRANSFORMERS = (
    _own("vit.vit", "ViT", "DSU", kind="transformer", label="vit_fused"),
    _own("vit.vit", "ViT", "TSU", kind="transformer", label="vit_separate", attention="separate"),
    _own("vit.vit", "ViT", "DFM", kind="transformer", label="vit_chunked", attention="chunked"),
    _own("vit.vit", "ViT", "TFU", kind="transformer", label="vit_torch_attention", attention="torch", opset=14),
    _own("vit.vit", "ViT", "DSU", kind="transformer", label="vit_attention_op", attention="separate", opset=23),
    _own("vit.deit", "DeiT", "TSU", kind="transformer", attention="chunked"),
    _own("vit.deit", "DeiT", "DFM", kind="transformer", label="deit_fused"),
    _own("vit.cait", "CaiT", "DSU", kind="transformer"),
    _own("swin.swin", "Swin", "DFM", kind="transformer"),
    _own("swin.swin", "Swin", "TSU", kind="transformer", label="swin_torchscript", opset=13),
    _own("pyramid.pvt", "PVT", "DSU", kind="transformer"),
    _own("pyramid.pvt", "PVT", "TFU", kind="transformer", label="pvt_torchscript", opset=13),
    _own("pyramid.segformer", "segmentation head, PVT", "TSU", kind="transformer"),
    _own("pyramid.poolformer", "PoolFormer", "DSU", kind="transformer"),
    _own("pyramid.mixer", "MLP-Mixer", "TSU", kind="transformer", opset=11),
    _own("hybrid.mobilevit", "MobileViT", "DSU", kind="transformer"),
    _own("hybrid.mobilevit", "MobileViT", "TFM", kind="transformer", label="mobilevit_torchscript"),
    _own("hybrid.levit", "LeViT", "TSU", kind="transformer"),
    _own("hybrid.levit", "LeViT", "DFM", kind="transformer", label="levit_dynamo"),
    _own("hybrid.crosscovariance", "cross-covariance attention", "DSU", kind="transformer"),
    _own("detectors.detr", "detection head, DETR", "TSU", kind="transformer"),
    _own("detectors.detr", "detection head, DETR", "DSU", kind="transformer", label="detr_dynamo"),
)

_TOWERS = (
    _own("towers.colour_and_depth", "several inputs and outputs", "DSU", (3, 64, 64), (1, 64, 64)),
    _own("towers.siamese", "several inputs, shared weights", "TSU", (3, 64, 64), (3, 64, 64)),
    _own("towers.recurrent", "shared weights", "DSU"),
    _own("towers.deep_supervision", "several outputs", "TFM"),
)

ARCHITECTURES: tuple[Architecture, ...] = (
    *_CHAINS,
    *_RESIDUAL,
    *_GROUPED,
    *_DEPTHWISE,
    *_GATES,
    *_DENSE,
    *_SHUFFLE,
    *_RESOLUTIONS,
    *_LARGE_KERNELS,
    *_TRANSFORMERS,
    *_TOWERS,
)
