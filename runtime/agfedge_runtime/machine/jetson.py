"""What a Jetson's files say of it: its module, its L4T release, and the JetPack that goes with it.

Sources: NVIDIA's JetPack archive (https://developer.nvidia.com/embedded/jetpack-archive) for releases, and the device
tree sources of Linux and L4T for part numbers. A release that is not listed is told by its family.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Tuple

Numbers = Tuple[int, ...]

_L4T_LINE = re.compile(r"R(\d+) \(release\), REVISION: (\d+(?:\.\d+)*)")
_PART = re.compile(r"p\d{4}-\d{4}")


@dataclass(frozen=True)
class JetPack:
    """A JetPack release and what it ships.

    Attributes:
        version: as ``6.2``, or ``6.2.x`` where the exact release is not known.
        python: version of the system's Python.
        cuda: version of its CUDA toolkit.
        tensorrt: version of its TensorRT.
    """

    version: str
    python: str
    cuda: str
    tensorrt: str


@dataclass(frozen=True)
class Module:
    """A Jetson module.

    Attributes:
        part: its part number, as ``p3767-0005``.
        profile: name of the device profile that describes it, as ``jetson-orin-nano-8``.
    """

    part: str
    profile: str


# The first L4T release of each family, latest first.
_FAMILIES: tuple[tuple[Numbers, JetPack], ...] = (
    ((39, 2), JetPack("7.2.x", "3.12", "13.2", "10.16.2")),
    ((38, 4), JetPack("7.1.x", "3.12", "13.0", "10.13.3")),
    ((38,), JetPack("7.0.x", "3.12", "13.0", "10.13.3")),
    ((36, 4), JetPack("6.2.x", "3.10", "12.6", "10.3")),
    ((36,), JetPack("6.0.x", "3.10", "12.2", "8.6.2")),
    ((35, 2), JetPack("5.1.x", "3.8", "11.4", "8.5.2")),
    ((34,), JetPack("5.0.x", "3.8", "11.4", "8.4")),
    ((32,), JetPack("4.x", "3.6", "10.2", "8.2 or older")),
)
_EXACT = {
    (35, 1): "5.0.2",
    (35, 2, 1): "5.1",
    (35, 3, 1): "5.1.1",
    (35, 4, 1): "5.1.2",
    (35, 5): "5.1.3",
    (35, 6): "5.1.4",
    (35, 6, 1): "5.1.5",
    (36, 3): "6.0",
    (36, 4): "6.1",
    (36, 4, 3): "6.2",
    (36, 4, 4): "6.2.1",
    (36, 4, 7): "6.2.1",
    (36, 5): "6.2.2",
    (38, 2): "7.0",
    (38, 4): "7.1",
    (39, 2): "7.2",
    (39, 2, 1): "7.2.1",
}
PROFILES = {
    "p2888-0001": "jetson-agx-xavier",
    "p2888-0004": "jetson-agx-xavier",
    "p2888-0005": "jetson-agx-xavier",
    "p3668-0000": "jetson-xavier-nx",
    "p3668-0001": "jetson-xavier-nx",
    "p3668-0003": "jetson-xavier-nx",
    "p3701-0000": "jetson-agx-orin-32",
    "p3701-0004": "jetson-agx-orin-32",
    "p3701-0005": "jetson-agx-orin-64",
    "p3767-0000": "jetson-orin-nx-16",
    "p3767-0001": "jetson-orin-nx-8",
    "p3767-0003": "jetson-orin-nano-8",
    "p3767-0004": "jetson-orin-nano-4",
    "p3767-0005": "jetson-orin-nano-8",
    "p3834-0000": "jetson-thor-t4000",
    "p3834-0008": "jetson-thor-t5000",
}


def parse_l4t(text: str) -> str | None:
    """The release in ``/etc/nv_tegra_release``, as ``36.4.3``; None where there is none."""
    found = _L4T_LINE.search(text)
    return None if found is None else f"{found.group(1)}.{found.group(2)}"


def jetpack_of(l4t: str) -> JetPack | None:
    """The JetPack of an L4T release; None before 32 (JetPack 4) and where it is no release."""
    numbers = numbers_of(l4t)
    exact = _EXACT.get(_without_zeros(numbers))
    for first, family in _FAMILIES:
        if numbers >= first:
            version = family.version if exact is None else exact
            return JetPack(version, family.python, family.cuda, family.tensorrt)
    return None


def find_module(compatible: str) -> Module | None:
    """The module in the device tree's ``compatible`` (NUL-separated names); None where it is not known.

    A name such as ``nvidia,p3768-0000+p3767-0005`` holds the carrier board's part number, too.
    """
    for part in _PART.findall(compatible):
        if part in PROFILES:
            return Module(part, PROFILES[part])
    return None


def numbers_of(version: str) -> Numbers:
    """The leading numbers of a version: (10, 3, 0) of ``10.3.0.30-1+cuda12.5`` is (10, 3, 0, 30)."""
    found = re.match(r"\d{1,9}(?:\.\d{1,9})*", version)
    return () if found is None else tuple(int(number) for number in found.group().split("."))


def _without_zeros(numbers: Numbers) -> Numbers:
    while numbers and numbers[-1] == 0:
        numbers = numbers[:-1]
    return numbers
