"""Calibration of the router: thresholds with a guarantee, priors that pay for themselves."""

from agfedge.router.answers import Answers, Evidence
from agfedge.router.calibration import Calibration, choose_router
from agfedge.router.confidence import CONFIDENCES, Measure
from agfedge.router.estimate import RouterEstimate, choose_estimate
from agfedge.router.guarantee import Bound, certify
from agfedge.router.priors import EarlyTrial
from agfedge.router.rivals import Rival, rival_table, rivals

__all__ = [
    "CONFIDENCES",
    "Answers",
    "Bound",
    "Calibration",
    "EarlyTrial",
    "Evidence",
    "Measure",
    "Rival",
    "RouterEstimate",
    "certify",
    "choose_estimate",
    "choose_router",
    "rival_table",
    "rivals",
]
