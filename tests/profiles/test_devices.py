"""Device profiles and the latency that they predict."""

from __future__ import annotations

from pathlib import Path

import pytest

from agfedge_profiles import CostModel, Kernel, device_names, load_device
from agfedge_runtime.errors import InputError


@pytest.mark.parametrize("name", device_names())
def test_every_profile_loads_in_its_default_mode(name: str) -> None:
    assert load_device(name).name == name


def test_a_power_mode_is_named_behind_a_colon() -> None:
    base, faster = load_device("jetson-orin-nano-8"), load_device("jetson-orin-nano-8:super")
    assert (base.mode, faster.mode) == ("base", "super")
    assert faster.peak.fp16_tflops > base.peak.fp16_tflops


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("jetson-orin-nan", "did you mean 'jetson-orin-nano-8'"),
        ("toaster", "expected one of generic, jetson"),
        ("jetson-orin-nano-8:supr", "has no power mode 'supr'; did you mean 'super'"),
        ("nowhere.toml", "nowhere.toml cannot be read"),
    ],
)
def test_an_unknown_device_or_mode_is_refused(name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_device(name)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("memory_gb = 8", "memory_gb = -8", "'memory_gb' is -8, expected a number above 0"),
        ("memory_gb = 8", "", "'memory_gb' is None"),
        ("dla_cores = 0", 'dla_cores = "two"', "'dla_cores' is 'two', expected a int"),
        ("launch_us", "launch_ms", "'launch_us' is None"),
        ("memory_gb = 8", "memory_gb = 8\nmemory = 9", "unknown key 'memory'"),
        ("compute_share = 0.3", "compute_share = 3.0", "at most 1"),
        ("[modes.base]", "[modes.base", "is no TOML"),
    ],
)
def test_a_profile_is_read_strictly(tmp_path: Path, old: str, new: str, message: str) -> None:
    import agfedge_profiles

    text = (Path(agfedge_profiles.__file__).parent / "devices" / "generic.toml").read_text()
    path = tmp_path / "own.toml"
    path.write_text(text.replace(old, new))
    with pytest.raises(InputError, match=message):
        load_device(str(path))


def test_a_kernel_takes_its_launch_and_the_longer_of_computing_and_moving() -> None:
    model = CostModel(load_device("generic"))  # 10 TFLOPS at 0.3, 68 GB/s at 0.7, 5 us a launch
    assert model.latency_us([Kernel(1.5e9, 0)]) == pytest.approx(5 + 1000)
    assert model.latency_us([Kernel(0, 23.8e6)]) == pytest.approx(5 + 1000)
    assert model.latency_us([Kernel(1.5e9, 23.8e6)] * 2, "int8") == pytest.approx(2 * (5 + 500))


def test_a_precision_without_a_peak_is_refused() -> None:
    with pytest.raises(InputError, match="precision 'fp64'"):
        CostModel(load_device("generic")).latency_us([], "fp64")
