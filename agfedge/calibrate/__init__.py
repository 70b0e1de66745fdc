"""Calibration of the router: thresholds with a guarantee, priors that pay for themselves."""

from agfedge.calibrate.confidence import CONFIDENCES, Measure
from agfedge.calibrate.early import EarlyTrial
from agfedge.calibrate.evidence import Evidence, Rows
from agfedge.calibrate.guarantee import Guarantee, certify, check_samples
from agfedge.calibrate.router import Calibration, calibrate, choose_router, rows_of

__all__ = [
    "CONFIDENCES",
    "Calibration",
    "EarlyTrial",
    "Evidence",
    "Guarantee",
    "Measure",
    "Rows",
    "calibrate",
    "certify",
    "check_samples",
    "choose_router",
    "rows_of",
]
