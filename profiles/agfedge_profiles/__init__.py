"""What a device is and what a cascade costs on it."""

from agfedge_profiles.costs import PassCosts, Rates, expected, mixture, mixture_to_expected, sequential
from agfedge_profiles.device import Assumed, DeviceProfile, PowerMode, device_names, load_device, power_modes
from agfedge_profiles.latency import Kernel, latency_us

__all__ = [
    "Assumed", "DeviceProfile", "Kernel", "PassCosts", "PowerMode", "Rates", "device_names", "expected",
    "latency_us", "load_device", "mixture", "mixture_to_expected", "power_modes", "sequential",
]  # fmt: skip
