"""The CIFAR ResNets with option A shortcuts, of `cifar_resnet`."""

from __future__ import annotations

from cifar_resnet import CifarResNet


def resnet20() -> CifarResNet:
    """Three blocks a stage."""
    return CifarResNet(3)


def resnet56() -> CifarResNet:
    """Nine blocks a stage."""
    return CifarResNet(9)
