"""What a device is and what a cascade costs on it."""

from agfedge_profiles.cost import CostModel, Kernel, Roofline, load_cost_model, model_precision, roofline_of
from agfedge_profiles.costs import Rates, expected, mixture, mixture_to_expected, sequential
from agfedge_profiles.device import Assumed, DeviceProfile, PowerMode, device_names, load_device, power_modes
from agfedge_profiles.table import LatencyTable, LayerPoint, read_table, write_table

__all__ = [
    "Assumed", "CostModel", "DeviceProfile", "Kernel", "LatencyTable", "LayerPoint", "PowerMode", "Rates",
    "Roofline", "device_names", "expected", "load_cost_model", "load_device", "mixture", "mixture_to_expected",
    "model_precision", "power_modes", "read_table", "roofline_of", "sequential", "write_table",
]  # fmt: skip
