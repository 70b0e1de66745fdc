"""The stress test: scores against each other, against random pruning, and against training from scratch."""

from agfedge.study.compare.points import HEAVY, SCRATCH, Claim, ComparePoint, ScoreRow, claims_of, rows_of
from agfedge.study.compare.report import json_of, markdown_of, sentence, table_of
from agfedge.study.compare.request import CompareRequest, check_request
from agfedge.study.compare.run import compare

__all__ = [
    "HEAVY",
    "SCRATCH",
    "Claim",
    "ComparePoint",
    "CompareRequest",
    "ScoreRow",
    "check_request",
    "claims_of",
    "compare",
    "json_of",
    "markdown_of",
    "rows_of",
    "sentence",
    "table_of",
]
