"""What a device is and what a cascade costs on it."""

from agfedge_profiles.costs import PassCosts, Rates, expected, mixture, mixture_to_expected, sequential

__all__ = ["PassCosts", "Rates", "expected", "mixture", "mixture_to_expected", "sequential"]
