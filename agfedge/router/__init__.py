"""Calibration of the router: thresholds with a guarantee, priors that pay for themselves."""

from agfedge.router.confidence import CONFIDENCES, Measure
from agfedge.router.early import EarlyTrial
from agfedge.router.estimate import RouterEstimate, choose_estimate
from agfedge.router.evidence import Evidence, Rows
from agfedge.router.guarantee import Guarantee, certify, check_samples
from agfedge.router.rivals import Rival, rival_table, rivals
from agfedge.router.router import (
    Calibration,
    PriorShapes,
    calibrate,
    choose_router,
    evidence_of,
    prior_charges,
    prior_cost,
    rows_of,
    shapes_of,
)

__all__ = [
    "CONFIDENCES",
    "Calibration",
    "EarlyTrial",
    "Evidence",
    "Guarantee",
    "Measure",
    "PriorShapes",
    "Rival",
    "RouterEstimate",
    "Rows",
    "calibrate",
    "certify",
    "check_samples",
    "choose_estimate",
    "choose_router",
    "evidence_of",
    "prior_charges",
    "prior_cost",
    "rival_table",
    "rivals",
    "rows_of",
    "shapes_of",
]
