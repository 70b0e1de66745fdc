"""The builder and its configuration: a plan holds the graph and what it was built for, and takes no time."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fake_tensorrt.names import EnumValue, Strict

if TYPE_CHECKING:
    from fake_tensorrt import FakeTensorRt

PLAN_MAGIC = b"fake-plan\n"
_CACHE_MAGIC = b"fake-timing-cache "

Shape = tuple[int, ...]


class ITimingCache(Strict):
    """How long tactics took."""

    def __init__(self, blob: bytes) -> None:
        self._blob = blob or _CACHE_MAGIC + self._fake.version.encode()

    def serialize(self) -> bytes:
        return self._fake.module.IHostMemory(self._blob)

    def combine(self, other: Any, ignore_mismatch: bool) -> bool:
        return bool(ignore_mismatch or other._blob == self._blob)

    def reset(self) -> bool:
        self._blob = _CACHE_MAGIC + self._fake.version.encode()
        return True


class IOptimizationProfile(Strict):
    """The range of every input's shape."""

    def __init__(self) -> None:
        self._shapes: dict[str, tuple[Shape, Shape, Shape]] = {}

    def set_shape(self, input: str, min: Shape, opt: Shape, max: Shape) -> None:  # noqa: A002 - TensorRT's names
        if not all(low <= middle <= high for low, middle, high in zip(min, opt, max, strict=True)):
            raise ValueError("the shapes of a profile must not decrease")
        self._shapes[input] = (tuple(min), tuple(opt), tuple(max))

    def get_shape(self, input: str) -> list[Shape]:  # noqa: A002
        return list(self._shapes.get(input, ()))

    def __bool__(self) -> bool:
        return bool(self._shapes)


class IBuilderConfig(Strict):
    """How to build."""

    def __init__(self) -> None:
        self._bits = 0
        self._pools: dict[EnumValue, int] = {}
        self._profiles: list[Any] = []
        self._cache: Any = None
        self._values: dict[str, Any] = {}

    @property
    def flags(self) -> int:
        return self._bits

    @flags.setter
    def flags(self, value: int) -> None:
        self._bits = value

    @property
    def num_optimization_profiles(self) -> int:
        return len(self._profiles)

    def set_flag(self, flag: EnumValue) -> None:
        self._bits |= 1 << int(flag)

    def clear_flag(self, flag: EnumValue) -> None:
        self._bits &= ~(1 << int(flag))

    def get_flag(self, flag: EnumValue) -> bool:
        return bool(self._bits >> int(flag) & 1)

    def set_memory_pool_limit(self, pool: EnumValue, pool_size: int) -> None:
        self._pools[pool] = pool_size

    def get_memory_pool_limit(self, pool: EnumValue) -> int:
        return self._pools.get(pool, 1 << 33)

    def add_optimization_profile(self, profile: Any) -> int:
        self._profiles.append(profile)
        return len(self._profiles) - 1

    def create_timing_cache(self, serialized_timing_cache: bytes) -> Any:
        return self._fake.module.ITimingCache(bytes(serialized_timing_cache))

    def set_timing_cache(self, cache: Any, ignore_mismatch: bool) -> bool:
        if cache._blob != _CACHE_MAGIC + self._fake.version.encode() and not ignore_mismatch:
            return False
        self._cache = cache
        return True

    def get_timing_cache(self) -> Any:
        return self._cache

    def set_preview_feature(self, feature: EnumValue, enable: bool) -> None:
        self._values[f"preview {feature.name}"] = enable

    def set_tactic_sources(self, tactic_sources: int) -> bool:
        self._values["tactic_sources"] = tactic_sources
        return True

    def can_run_on_DLA(self, layer: object) -> bool:  # noqa: N802
        return True


def _valued(name: str, default: object) -> property:
    """A property of the configuration that is merely kept."""

    def get(self: Any) -> object:
        return self._values.get(name, default)

    def put(self: Any, value: object) -> None:
        self._fake.calls.append((f"IBuilderConfig.{name}", (value,)))
        self._values[name] = value

    return property(get, put)


for _name, _default in (
    ("builder_optimization_level", 3), ("progress_monitor", None), ("DLA_core", -1), ("default_device_type", None),
    ("engine_capability", None), ("hardware_compatibility_level", None), ("profiling_verbosity", None),
    ("avg_timing_iterations", 1), ("max_aux_streams", -1), ("int8_calibrator", None), ("runtime_platform", None),
):  # fmt: skip
    setattr(IBuilderConfig, _name, _valued(_name, _default))


class Builder(Strict):
    """Networks into plans."""

    def __init__(self, logger: Any) -> None:
        self._logger = logger

    @property
    def num_DLA_cores(self) -> int:  # noqa: N802
        return self._fake.dla_cores

    @property
    def platform_has_fast_fp16(self) -> bool:
        return True

    @property
    def platform_has_fast_int8(self) -> bool:
        return True

    @property
    def logger(self) -> Any:
        return self._logger

    def create_network(self, flags: int = 0) -> Any:
        return self._fake.module.INetworkDefinition(flags)

    def create_builder_config(self) -> Any:
        return self._fake.module.IBuilderConfig()

    def create_optimization_profile(self) -> Any:
        return self._fake.module.IOptimizationProfile()

    def is_network_supported(self, network: Any, config: Any) -> bool:
        return True

    def build_serialized_network(self, network: Any, config: Any) -> bytes | None:
        fake = self._fake
        if fake.build_failures:
            fake.log(self._logger, "ERROR", fake.build_failures.pop(0))
            return None
        ranges = config._profiles[0]._shapes if config._profiles else {}
        for tensor in network._inputs:
            if -1 in tensor.shape and tensor.name not in ranges:
                fake.log(self._logger, "ERROR", f"Network has dynamic input {tensor.name} but no optimization profile")
                return None
        if not self._progress(config._values.get("progress_monitor")):
            fake.log(self._logger, "ERROR", "Build cancelled")
            return None
        return fake.module.IHostMemory(PLAN_MAGIC + json.dumps(_plan(fake, network, config, ranges)).encode())

    def _progress(self, monitor: Any) -> bool:
        if monitor is None:
            return True
        monitor.phase_start("Building Engine", None, 2)
        steps = [monitor.step_complete("Building Engine", step) for step in range(2)]
        monitor.phase_finish("Building Engine")
        return all(steps)


def _plan(fake: FakeTensorRt, network: Any, config: Any, ranges: Mapping[str, Any]) -> dict[str, object]:
    flags = {name: value for name, value in vars(fake.module.BuilderFlag).items() if isinstance(value, EnumValue)}
    return {
        "version": fake.version,
        "module": fake.name,
        "flags": sorted(name for name, value in flags.items() if config._bits >> int(value) & 1),
        "inputs": [each._facts for each in network._inputs],
        "outputs": [each._facts for each in network._outputs],
        "ranges": ranges,
        "model": base64.b64encode(network._model).decode(),
    }
