"""The CIFAR ResNets with option A shortcuts, from `benchmarks/cifar_resnet.py`."""

from __future__ import annotations

from cifar_resnet import CifarResNet


def resnet20() -> CifarResNet:
    """Three blocks a stage."""
    return CifarResNet(3)


def resnet56() -> CifarResNet:
    """Nine blocks a stage."""
    return CifarResNet(9)
