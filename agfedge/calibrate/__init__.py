"""Calibration of the router: thresholds with a guarantee, priors that pay for themselves."""

from agfedge.calibrate.early import EarlyTrial
from agfedge.calibrate.guarantee import Guarantee, certify, check_samples
from agfedge.calibrate.router import Calibration, calibrate

__all__ = ["Calibration", "EarlyTrial", "Guarantee", "calibrate", "certify", "check_samples"]
