"""The stress test: scores against each other, against random pruning, and against training from scratch."""

from agfedge.study.compare.points import HEAVY, SCRATCH, Point
from agfedge.study.compare.report import json_of, markdown_of, sentence, table_of
from agfedge.study.compare.request import CompareRequest, check_request
from agfedge.study.compare.run import compare
from agfedge.study.compare.summary import Claim, Row, claims_of, rows_of

__all__ = [
    "HEAVY",
    "SCRATCH",
    "Claim",
    "CompareRequest",
    "Point",
    "Row",
    "check_request",
    "claims_of",
    "compare",
    "json_of",
    "markdown_of",
    "rows_of",
    "sentence",
    "table_of",
]
