"""Device profiles: what a module can do in each of its power modes, read from TOML files of this package."""

from __future__ import annotations

import difflib
import math
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from importlib.resources import files
from pathlib import Path
from typing import TypeVar

from agfedge_runtime.errors import InputError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_T = TypeVar("_T")

PRECISIONS = ("fp16", "int8")


@dataclass(frozen=True)
class PowerMode:
    """What a module reaches at most in one of its power modes; mode names and clocks differ between modules.

    Attributes:
        fp16_tflops: dense FP16 peak, 10^12 operations a second; a multiply-accumulate is two.
        int8_tops: dense INT8 peak, 10^12 operations a second.
        bandwidth_gb_s: of memory, 10^9 bytes a second.
    """

    fp16_tflops: float
    int8_tops: float
    bandwidth_gb_s: float


@dataclass(frozen=True)
class Assumed:
    """What no data sheet tells: guesses that stand until a table measured on the device replaces them.

    Attributes:
        compute_share: of the peak, that convolutions and products reach, in (0, 1].
        bandwidth_share: of the memory's bandwidth, that kernels reach, in (0, 1].
        launch_us: microseconds that every kernel costs before it computes anything.
    """

    compute_share: float
    bandwidth_share: float
    launch_us: float


@dataclass(frozen=True)
class DeviceProfile:
    """A module in one power mode.

    Attributes:
        name: as `load_device` takes it, without the mode.
        title: for people.
        compute_capability: of the GPU, such as "8.7".
        memory_gb: shared by CPU and GPU.
        dla_cores: deep learning accelerators beside the GPU.
        mode: name of the power mode.
        peak: what the module reaches in that mode.
        assumed: what is not known of it.
        unchecked: names of facts that no second source confirmed.
        source: where the peaks come from.
    """

    name: str
    title: str
    compute_capability: str
    memory_gb: float
    dla_cores: int
    mode: str
    peak: PowerMode
    assumed: Assumed
    unchecked: tuple[str, ...]
    source: str


def device_names() -> list[str]:
    """Returns the names of the profiles that ship with this package, sorted."""
    entries = files("agfedge_profiles").joinpath("devices").iterdir()
    return sorted(entry.name.removesuffix(".toml") for entry in entries if entry.name.endswith(".toml"))


def load_device(name: str) -> DeviceProfile:
    """Reads a device profile.

    Args:
        name: of a profile, such as `jetson-orin-nano-8`, or the path of a TOML file; `:MODE` behind it names a power
            mode other than the profile's default, as in `jetson-orin-nano-8:super`.

    Raises:
        InputError: there is none of that name (close matches are listed), it has no such mode, or a file is no profile.
    """
    base, _, mode = name.partition(":") if ".toml:" not in name else name.rpartition(":")
    if base.endswith(".toml"):
        return _profile(Path(base).stem, base, _file(base), mode)
    return _profile(base, base, _shipped(base), mode)


def power_modes(name: str) -> tuple[str, ...]:
    """Returns the power modes of a profile that ships with this package, the default first.

    Raises:
        InputError: there is none of that name (close matches are listed).
    """
    modes: dict[str, object] = tomllib.loads(_shipped(name))["modes"]
    default = load_device(name).mode
    return (default, *(mode for mode in modes if mode != default))


def _shipped(name: str) -> str:
    if name not in device_names():
        raise InputError(f"no device profile is called {name!r}{_close(name, device_names())}")
    return files("agfedge_profiles").joinpath("devices", f"{name}.toml").read_text(encoding="utf-8")


def _file(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}; expected a device profile") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no text: expected a device profile, a TOML file") from error


def _profile(name: str, where: str, text: str, mode: str) -> DeviceProfile:
    try:
        document = tomllib.loads(text)
    except ValueError as error:
        raise InputError(f"{where} is no TOML: {str(error).splitlines()[0]}; expected a device profile") from error
    facts = _Table(where, document)
    modes = _Table(f"{where}: modes", facts.take("modes", dict))
    default = facts.take("default_mode", str)
    mode = mode or default
    if mode not in modes.values:
        raise InputError(f"{where} has no power mode {mode!r}{_close(mode, modes.values)}")
    peak = _Table(f"{where}: mode {mode}", modes.take(mode, dict))
    assumed = _Table(f"{where}: assumed", facts.take("assumed", dict))
    profile = DeviceProfile(
        name=name,
        title=facts.take("title", str),
        compute_capability=facts.take("compute_capability", str),
        memory_gb=facts.positive("memory_gb"),
        dla_cores=facts.take("dla_cores", int),
        mode=mode,
        peak=PowerMode(**{each.name: peak.positive(each.name) for each in fields(PowerMode)}),
        assumed=Assumed(
            assumed.positive("compute_share", most=1.0),
            assumed.positive("bandwidth_share", most=1.0),
            assumed.positive("launch_us"),
        ),
        unchecked=tuple(str(each) for each in facts.take("unchecked", list)),
        source=facts.take("source", str),
    )
    for table in (facts, peak, assumed):
        table.done()
    return profile


class _Table:
    """A TOML table that is read strictly: every key once, of the right type, and none left over."""

    def __init__(self, where: str, values: Mapping[str, object]) -> None:
        self.where = where
        self.values = dict(values)
        self._left = set(values)

    def take(self, key: str, kind: type[_T]) -> _T:
        """Returns the value of a key, of exactly this type."""
        if key not in self.values:
            raise InputError(f"{self.where} lacks {key!r}: expected a {kind.__name__}")
        value = self.values[key]
        if type(value) is not kind:
            raise InputError(f"{self.where}: {key!r} is {value!r}, expected a {kind.__name__}")
        self._left.discard(key)
        return value

    def positive(self, key: str, most: float = math.inf) -> float:
        """Returns a number above 0, and at most `most`."""
        value = self.values.get(key)
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 < value <= most or value == math.inf:
            limit = "" if most == math.inf else f", at most {most:g}"
            raise InputError(f"{self.where}: {key!r} is {value!r}, expected a number above 0{limit}")
        self._left.discard(key)
        return float(value)

    def done(self) -> None:
        """Refuses keys that nobody took."""
        for key in sorted(self._left):
            raise InputError(f"{self.where}: unknown key {key!r}{_close(key, self.values.keys() - self._left)}")


def _close(name: str, known: Collection[str]) -> str:
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    if close:
        return f"; did you mean {' or '.join(map(repr, close))}?"
    return f": expected one of {', '.join(sorted(known))}"
