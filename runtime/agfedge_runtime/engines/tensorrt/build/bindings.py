"""The part of TensorRT's Python interface that building uses: the same names from 8.5 to 11 and in TensorRT-RTX.

What only some versions have is asked for with `Library.has` before it is touched.
"""

# The methods and their spelling are NVIDIA's, and so are their descriptions.
# ruff: noqa: D102, N815
from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol, SupportsBytes


class Tensor(Protocol):
    """``ITensor``: an input or output of a network."""

    name: str
    shape: Iterable[int]


class NetworkDefinition(Protocol):
    """``INetworkDefinition``."""

    num_inputs: int

    def get_input(self, index: int) -> Tensor: ...


class ParserError(Protocol):
    """``ParserError``; from version 10 on it also knows its node's name."""

    def code(self) -> object: ...
    def desc(self) -> str: ...
    def file(self) -> str: ...
    def func(self) -> str: ...
    def node(self) -> int: ...


class OnnxParser(Protocol):
    """``OnnxParser``."""

    num_errors: int

    def parse_from_file(self, path: str) -> bool: ...
    def get_error(self, index: int) -> ParserError: ...


class OptimizationProfile(Protocol):
    """``IOptimizationProfile``."""

    def set_shape(self, name: str, least: Sequence[int], usual: Sequence[int], most: Sequence[int]) -> None: ...


class TimingCache(Protocol):
    """``ITimingCache``."""

    def serialize(self) -> SupportsBytes: ...


class BuilderConfig(Protocol):
    """``IBuilderConfig``."""

    DLA_core: int
    builder_optimization_level: int  # since 8.6
    default_device_type: object
    profiling_verbosity: object
    progress_monitor: object  # since 10

    def add_optimization_profile(self, profile: OptimizationProfile) -> int: ...
    def clear_flag(self, flag: object) -> None: ...
    def create_timing_cache(self, data: bytes) -> TimingCache | None: ...
    def get_timing_cache(self) -> TimingCache | None: ...
    def set_flag(self, flag: object) -> None: ...
    def set_memory_pool_limit(self, pool: object, size: int) -> None: ...
    def set_timing_cache(self, cache: TimingCache, ignore_mismatch: bool) -> bool: ...


class Builder(Protocol):
    """``Builder``."""

    num_DLA_cores: int

    def build_serialized_network(self, network: NetworkDefinition, config: BuilderConfig) -> SupportsBytes | None: ...
    def create_builder_config(self) -> BuilderConfig: ...
    def create_optimization_profile(self) -> OptimizationProfile: ...
